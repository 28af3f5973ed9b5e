"""The server: ONNX Runtime behind HTTP."""
