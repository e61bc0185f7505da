"""Frozen networks that a tokenizer learns from."""
