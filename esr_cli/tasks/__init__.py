"""Tasks turn rows of data into prompts with instruction, chat template and reference answer."""
