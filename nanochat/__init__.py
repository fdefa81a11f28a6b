"""nanochat: find out, with evidence, which small language model to train."""

__version__ = "0.1.0"
