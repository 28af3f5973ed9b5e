"""Tasks: what is predicted, and all that follows: labels, predictions, metrics and baselines."""
