"""Data sources, data tests with great_expectations, quarantined rows and blanked cells."""
