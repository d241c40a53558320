"""Pure tensor functions of the objective: no configuration, no input or output."""
