"""What every room may use: files, processes, statistics. Imports nothing else of esr."""
