"""Attacks that see every update: likelihood ratios from gradients or projections of them."""
