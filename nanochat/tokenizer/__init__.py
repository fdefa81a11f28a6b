"""Tokenizers: text to token ids and back, without loss; trained, where they are, from an iterator of strings."""
