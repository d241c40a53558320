"""Graders: one response against one reference gives a `Grade`; statistics over many."""
