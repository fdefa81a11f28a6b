"""The bridge from Hydra's `-m` to nanochat's studies."""
