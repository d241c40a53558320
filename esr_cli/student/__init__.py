"""The model in training: its trainable parameters, optimizer steps and checkpoints."""
