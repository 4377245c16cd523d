"""Checks of DP-SGD steps: clipping, noise, updates."""
