"""`esr lab`: trains the miniature pair from scratch."""
