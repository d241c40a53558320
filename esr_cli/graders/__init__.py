"""Graders compare a response with a reference and return a `Grade`; `figures` aggregates them."""
