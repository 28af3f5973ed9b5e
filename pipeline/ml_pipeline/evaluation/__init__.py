"""Metrics, baselines and checks of a trained model on the holdout."""
