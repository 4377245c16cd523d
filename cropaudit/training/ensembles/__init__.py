"""Many models at once, and the baselines beside the private one."""
