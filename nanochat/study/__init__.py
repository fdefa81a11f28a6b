"""Studies: arms, search, seeds."""
