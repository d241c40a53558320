"""Utilities for every package: files, processes, statistics. Imports nothing else of esr."""
