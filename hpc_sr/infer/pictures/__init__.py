"""Single images made finer: read, up-scaled by clip-and-merge, written as GeoTIFF or PNG."""
