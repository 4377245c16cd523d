"""What probes saw, as plain arrays: written by the process of the user's code, read by ours."""
