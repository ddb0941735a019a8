"""How good an estimate is: metrics that merge across windows and ranks, baselines, and the two Wald protocols."""
