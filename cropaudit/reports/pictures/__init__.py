"""Pictures: what they show, and how it is drawn with matplotlib."""
