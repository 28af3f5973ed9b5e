"""The table of stages, and a module for each."""
