"""Betting against trade-off curves: bounds that hold at any stop."""
