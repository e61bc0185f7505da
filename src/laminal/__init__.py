"""Train speech tokenizers and probe them layer by layer for sound and for meaning."""
