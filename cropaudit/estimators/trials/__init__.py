"""Bounds from independent trials: error rates, ranks, and families of mechanisms."""
