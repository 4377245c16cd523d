"""Questions about bounds, as users ask them: options and presets, sweeps, profiles, maps."""
