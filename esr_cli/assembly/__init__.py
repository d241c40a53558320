"""From settings to parts: workers, pairing, objective, data; and whether it fits in memory."""
