"""`esr bench`: times a training step against the floor of the machine and against TRL."""
