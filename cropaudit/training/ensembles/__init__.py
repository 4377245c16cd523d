"""Many models at once, and how well a model segments."""
