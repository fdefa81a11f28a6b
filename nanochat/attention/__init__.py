"""How tokens exchange information: one file per option, `base.py` is the contract."""
