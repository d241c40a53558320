"""`esr compare`: compares two evaluations question by question."""
