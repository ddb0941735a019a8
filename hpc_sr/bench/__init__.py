"""Benchmarks: each prints one JSON with the physical limit measured in the same run, in alternation."""
