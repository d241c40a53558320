"""Models: loading, output heads, batching, and the networks of the lab."""
