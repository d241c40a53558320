"""The record of a run: writes and reads its folder, metrics, alarms and environment."""
