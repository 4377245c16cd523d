"""Segmentation models fit for per-sample gradients, their losses and initial weights."""
