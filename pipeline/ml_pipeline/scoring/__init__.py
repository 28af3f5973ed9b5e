"""Predictions for the rows of files and database tables."""
