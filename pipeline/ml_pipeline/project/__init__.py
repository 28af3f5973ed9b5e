"""Isolated runs of the project's own code (tests, linters, feature modules), and doctor."""
