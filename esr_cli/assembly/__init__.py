"""Builds the parts of a run from its settings: workers, pairing, objective, data, memory check."""
