"""Procedural street scenes with dense masks: data for audits that need no photographs."""
