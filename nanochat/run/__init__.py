"""One run: what it is, where it lies, and the only way it is run."""
