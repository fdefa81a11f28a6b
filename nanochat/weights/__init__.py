"""Which trained weights are effective and which redundant: spectra, ablation, dead units, pruning."""
