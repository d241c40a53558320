"""`esr check`: reports what a run would do and need, before it starts."""
