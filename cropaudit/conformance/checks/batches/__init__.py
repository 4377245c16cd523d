"""Checks of batches: who joins them, at which rate, in how many steps."""
