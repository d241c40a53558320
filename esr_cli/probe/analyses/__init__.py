"""The paper's analyses, a file each: plain arrays in, rows in long form out (docs/probes.md).

A row has `figure` and `value`, and where they apply `who`, `at`, `low`, `high`, `n`.
"""
