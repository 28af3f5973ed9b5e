"""Checks of a deployed model: API contract, load test, shadow, watch."""
