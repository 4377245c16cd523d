"""Probes of models: per-sample gradients against autograd, and what images do to each other."""
