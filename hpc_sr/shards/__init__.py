"""Patches on disk: the only h5py in the house."""
