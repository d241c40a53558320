"""`esr reproduce`: every table and figure of the paper that applies, run and reported."""
