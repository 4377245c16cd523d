"""Amplified patch-level privacy bounds: numpy, scipy and dp_accounting, no torch."""
