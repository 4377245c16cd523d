"""How likely a random window is to meet a patch, for every crop law and place."""
