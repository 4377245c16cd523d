"""The configuration of an audit: its keys, ranges, defaults and presets."""
