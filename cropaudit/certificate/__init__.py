"""The component certificate: what a run's own logs say about its noise and its rates."""
