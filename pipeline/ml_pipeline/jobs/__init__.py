"""Jobs of a Jenkins from YAML: check them, show what would change, change it."""
