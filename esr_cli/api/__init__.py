"""The Python API: graders by name, run folders as tables, training from Python (docs/python.md)."""
