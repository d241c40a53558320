"""Where a worker runs: inline, or in a process of its own."""
