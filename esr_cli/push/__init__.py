"""`esr push`: sends a student to the Hugging Face hub."""
