"""Promotion, rollback and reconciliation of production, with journal and recovery."""
