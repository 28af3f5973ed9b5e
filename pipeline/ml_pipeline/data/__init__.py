"""Reading of sources, data tests with great_expectations, quarantine and blanked cells."""
