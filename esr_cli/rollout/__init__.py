"""Engines that sample responses: vLLM, and a short decode loop over transformers."""
