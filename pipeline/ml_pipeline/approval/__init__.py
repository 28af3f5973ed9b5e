"""Signed approvals: who may approve, what is signed, and how it is verified."""
