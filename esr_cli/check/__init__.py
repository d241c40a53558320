"""`esr check`: what a run would do and need, found out before anything is spent on it."""
