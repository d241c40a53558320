"""What a report is made of: folders to runs, runs to arms, arms to numbers, numbers to verdicts."""
