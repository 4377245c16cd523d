"""Checks of models: a gradient of each image's own."""
