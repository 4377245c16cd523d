"""Membership scores from what an adversary sees."""
