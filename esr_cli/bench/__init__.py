"""`esr bench`: what a step takes, beside the floor of the machine and beside TRL."""
