"""Scaling laws: forms, fits and their uncertainty, as functions of arrays."""
