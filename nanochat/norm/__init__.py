"""Normalisation of the residual stream: one file per option, `base.py` is the contract."""
