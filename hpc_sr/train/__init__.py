"""Training: what is learned, how fast, on which samples, and what a checkpoint keeps of it."""
