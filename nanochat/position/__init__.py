"""How a model knows where a token stands: one file per option, `base.py` is the contract."""
