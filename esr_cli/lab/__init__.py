"""`esr lab`: the miniature pair, made from scratch."""
