"""From a pushed commit to a model in production: the stages behind the Jenkins steps."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
"""ONNX Runtime sends usage data from 1.32 on, and a server that ends waits for that."""

__version__ = "0.1.0"
