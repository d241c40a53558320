"""`esr compare`: compares evaluations question by question."""
