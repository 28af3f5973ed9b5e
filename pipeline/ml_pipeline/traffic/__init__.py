"""Requests at a constant rate, and the copies of live requests."""
