"""SAFE products and images become patch stores: run once per archive, serially or under MPI."""
