"""Runs `esr` as `python -m esr_cli.cli`."""

from esr_cli.cli.main import main

if __name__ == "__main__":
    main()
