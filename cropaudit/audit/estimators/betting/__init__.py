"""Betting against trade-off curves: the parts of the e-process."""
