"""The sanity check of a run: what a careful person tries by hand before trusting a loss."""
