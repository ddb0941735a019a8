"""Distributed super-resolution of Sentinel-2: all bands at 10 m."""

__version__ = "0.2.0"
