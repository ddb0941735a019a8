"""Shards to batches. Takes rank and world_size as integers, never a Comm."""
