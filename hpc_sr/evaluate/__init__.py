"""How good an estimate is: metrics that add up over windows and ranks, methods without training, and protocols."""
