"""Patches on disk: HDF5 shards, the manifest that describes them, and copies on a node's own disk."""
