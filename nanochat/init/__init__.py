"""What weights a run starts from: one file per option, `base.py` is the contract."""
