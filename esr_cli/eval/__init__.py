"""`esr eval`: a model, a run or a file of responses, graded."""
