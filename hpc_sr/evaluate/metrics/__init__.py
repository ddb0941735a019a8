"""Scores of images: sums that add up over windows and ranks, and every formula computed from them once."""
