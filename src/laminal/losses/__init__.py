"""One file a loss, one paper a file."""
