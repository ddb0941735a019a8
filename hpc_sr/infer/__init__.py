"""Products become super-resolved GeoTIFFs."""
