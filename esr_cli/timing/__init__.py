"""What `esr bench` times, and against what: our loop, a peer's, and the limits of the machine."""
