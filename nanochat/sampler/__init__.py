"""How a study chooses what to try next, one file for each of Optuna's samplers."""
