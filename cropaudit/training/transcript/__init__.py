"""What a run leaves: its draws, its noise to be drawn again, its weights."""
