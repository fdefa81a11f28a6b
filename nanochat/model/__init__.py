"""The model: its architecture as one Spec, the transformer that it builds, and sampling from it."""
