"""Checks of crops: the law of windows, independence, and what a crop knows of the patch."""
