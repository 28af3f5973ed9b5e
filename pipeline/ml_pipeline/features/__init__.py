"""The ``@feature`` decorator, the schema of features, and the contract of requests."""
