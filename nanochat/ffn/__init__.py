"""What happens to each token by itself: one file per option, `base.py` is the contract."""
