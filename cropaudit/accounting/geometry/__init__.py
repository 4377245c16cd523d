"""What images, crops and patches are: sizes, shapes, laws of windows. Described, not computed."""
