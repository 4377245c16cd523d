"""DP-SGD on random crops, with Opacus: the run, the step, the ways of per-sample gradients."""
