"""Benchmarks: their questions and graders, a pass over them, and files of responses."""
