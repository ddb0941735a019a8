"""What is compared with what: synthesis, consistency, an image of 10 m, patches, images that others made."""
