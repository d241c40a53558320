"""The model in training: its tuning, its steps, its checkpoints."""
