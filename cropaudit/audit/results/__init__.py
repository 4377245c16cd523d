"""Documents that are saved: frozen, versioned, read by every report."""
