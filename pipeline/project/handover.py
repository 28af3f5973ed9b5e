"""How a stage tells the pytest process that it starts what the fixtures are made of."""

HANDOVER = "ML_PIPELINE_HANDOVER"
"""Environment variable with the path of the JSON file that a stage hands to the tests it runs."""
