"""The paper's analyses, one per file: from plain arrays to rows in long form (docs/probes.md).

A row has `figure` and `value` and, if they apply, `who`, `at`, `low`, `high`, `n`.
"""
