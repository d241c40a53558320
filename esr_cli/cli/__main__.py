"""`python -m esr_cli.cli` is `esr`."""

from esr_cli.cli.main import main

if __name__ == "__main__":
    main()
