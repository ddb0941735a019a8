"""The instrument: products, bands, radiometry, masks, the degradation. Plain numpy; two files use rasterio."""
