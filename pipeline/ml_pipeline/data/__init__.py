"""Data: reads sources, tests rows with great_expectations, quarantines rows and blanks cells."""
