"""Bounds from one training run with many canaries."""
