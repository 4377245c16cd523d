"""Whole jobs: an audit, a training, attacks on a saved run, a dry run."""
