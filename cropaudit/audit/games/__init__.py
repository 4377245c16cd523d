"""Membership games: how trials are made and scored, and what each leaves behind."""
