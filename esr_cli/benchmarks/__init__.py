"""Benchmarks: questions and grader put together, one pass over them, files of responses."""
