"""From scores and a claim to tests, bounds, the headline and the decision."""
