"""`esr reproduce`: runs and reports every applicable table and figure of the paper."""
