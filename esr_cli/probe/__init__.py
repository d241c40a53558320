"""`esr probe`: the paper's measurements. Each analysis is a pure function in `analyses`."""
