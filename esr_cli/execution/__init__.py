"""Execution of workers: inline, or in a separate process."""
