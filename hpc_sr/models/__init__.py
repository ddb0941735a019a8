"""Networks. Torch only: no files, no YAML, no ranks. If nothing is said, tensors are in network units."""
