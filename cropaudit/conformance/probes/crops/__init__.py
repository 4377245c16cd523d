"""Probes of crops: images whose pixels say where they are, and replays from one random state."""
