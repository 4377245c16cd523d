"""The probes: what is done with the user's code, in its own process, to see what it does."""
