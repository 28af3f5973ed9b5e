"""Paired tests, bootstrap intervals and measures of drift."""
