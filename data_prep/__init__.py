"""SAFE products become patch stores: run once per archive, serially or under MPI."""
