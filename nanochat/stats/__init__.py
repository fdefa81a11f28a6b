"""Statistics as pure functions on arrays."""

# With two seeds a t interval exists but is thirteen standard errors wide; below three there is no verdict.
FEWEST_SEEDS = 3
