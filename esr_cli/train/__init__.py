"""`esr train`: the training loop, with its evaluations and checkpoints."""
