"""Losses: plain functions of tensors in network units that return a scalar."""
