"""Bundles: a model with everything that is needed to serve and verify it."""
