"""The command line: commands, sweeps, completion. Imports only light modules at the top."""
