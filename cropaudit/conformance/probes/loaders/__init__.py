"""Probes of loaders: who came when, with which window."""
