"""Audit, by experiment, the patch-level privacy of vision models trained on random crops."""

__all__ = ["__version__"]

__version__ = "0.1.0"
