"""Bundles: a model with everything needed to serve and verify it."""
