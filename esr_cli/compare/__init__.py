"""`esr compare`: two runs, question by question."""
