"""Products become GeoTIFFs with all bands at 10 m, and pictures become finer ones."""
