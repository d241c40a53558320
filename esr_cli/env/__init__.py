"""`esr env`: prints the versions that esr was tested with."""
