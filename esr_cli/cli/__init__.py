"""The command line: the command table, sweeps, completion. Loads nothing heavy."""
