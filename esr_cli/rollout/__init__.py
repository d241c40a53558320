"""Engines that sample responses: vLLM, and a short decoding loop over transformers."""
