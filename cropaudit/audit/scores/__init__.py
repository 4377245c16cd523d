"""Scores that users bring: tables of attacks, lines as they arrive, and copies among them."""
