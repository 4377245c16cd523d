"""Images with dense masks: the one description that training, attacks and reports share."""
