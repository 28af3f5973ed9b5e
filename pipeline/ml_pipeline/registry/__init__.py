"""Versions, aliases, records and leases in MLflow."""
