"""Tasks: rows of data become prompts, with the instruction, chat template and reference answer."""
