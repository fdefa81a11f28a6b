"""Evaluation: bits per byte of whole documents, and the record of every document that was scored."""
