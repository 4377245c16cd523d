"""Real objects of photographs as patches: finding them, and the same picture without one."""
