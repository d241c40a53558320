"""The report: reads runs, groups them into conditions, computes numbers, and judges claims."""
