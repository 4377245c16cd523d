"""Who joins a batch, and how learning rates run."""
