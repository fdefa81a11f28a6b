"""What `run.py` can do."""
