"""Epsilon, delta, noise and steps of mechanisms; what users ask, with presets and sweeps."""
