"""The record of a run: its folder, metrics, alarms and environment, and how they are read back."""
