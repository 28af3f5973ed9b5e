"""Splits, fits, calibrates and exports a model."""
