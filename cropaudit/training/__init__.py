"""Data, crops, canaries, models, samplers and the DP-SGD loop."""
