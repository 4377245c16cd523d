"""Random crops of images and masks alike, under every crop law of the accountant."""
