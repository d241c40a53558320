"""`esr eval`: grades the responses of a model, of a run, or in a file."""
