"""DP-SGD on random crops, described: samplers, pairs, names, and pipelines in users' words."""
