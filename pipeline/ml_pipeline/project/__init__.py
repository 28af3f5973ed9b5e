"""The project's own code: its tests, linters and feature process, confined; and doctor."""
