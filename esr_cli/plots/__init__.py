"""Figures drawn from plain rows, each written as PNG and SVG."""
