"""Planted faults: pipelines that are broken on purpose, each with the check that must name it."""
