"""`esr probe`: the paper's measurements; each analysis is a pure function in `analyses`."""
