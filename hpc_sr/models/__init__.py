"""Networks. Torch only: no files, no YAML, no ranks. All values are in network units (hpc_sr.tasks)."""
