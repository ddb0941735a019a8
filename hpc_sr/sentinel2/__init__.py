"""The instrument: products, bands, radiometry, masks and the degradation. Plain numpy; rasterio in safe.py only."""
