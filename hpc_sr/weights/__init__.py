"""Trained generators on disk: cards, tensors, folders, and files that others published."""
