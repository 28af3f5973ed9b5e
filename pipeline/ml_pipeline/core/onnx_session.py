"""How an ONNX model is run: on one thread of the CPU, whether in training or in the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

TOLERANCE = 1e-5
"""Largest difference of predictions between an exported model and the fitted one."""
FATAL = 4
"""Severity from which ONNX Runtime logs; its errors are raised too."""


def open_session(content: bytes) -> InferenceSession:
    """Return the session of a model.

    One thread, so that predictions do not depend on the number of cores.

    Raises:
        Exception: ONNX Runtime cannot load the model (its errors have no common base class).
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = FATAL
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
