"""What is audited: data with canaries, the pipeline, the model, and who watches it."""
