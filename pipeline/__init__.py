"""From a pushed commit to a model in production: the stages behind the Jenkins steps."""

import os

__version__ = "0.1.0"

# Read when ONNX Runtime is imported. Otherwise a thread of it looks up its maker's collector every
# few seconds, and where no name server answers, a process waits seconds for that thread to end.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
