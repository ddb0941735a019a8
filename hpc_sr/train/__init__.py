"""The training loop and what survives it."""
