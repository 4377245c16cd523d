"""Dominating pairs of one step, their privacy losses, and the composition of many."""
