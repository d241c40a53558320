"""`esr train`: the loop, and what happens around a step when it is due."""
