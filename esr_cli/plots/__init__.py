"""Figures from plain rows; every one as PNG and as SVG."""
