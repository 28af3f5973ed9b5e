"""A double of the feature worker: the body of a request names its behaviour."""

import os
import sys
import tempfile
import time
from pathlib import Path

from ml_pipeline.serving.feature_messages import (
    HEADER,
    ComputedFeatures,
    Failure,
    Ready,
    encode,
    read_frame,
    write_frame,
)


def main():
    requests, replies = sys.stdin.buffer, sys.stdout.buffer
    write_frame(replies, encode(Ready()))
    while (body := read_frame(requests)) is not None:
        match body.decode():
            case "hang":
                time.sleep(600)
            case "crash":
                os._exit(9)
            case "end":
                write_frame(replies, encode(Failure(422, "the last one")))
                return
            case "nonsense":
                write_frame(replies, b"nonsense")
            case "ready":
                write_frame(replies, encode(Ready()))
            case "large":
                replies.write(HEADER.pack(2**31))
                replies.flush()
            case "environment":
                write_frame(replies, encode(Failure(422, " ".join(sorted(os.environ)))))
            case "write":
                try:
                    Path(os.environ["PYTHONPATH"], "written").touch()
                except OSError as error:
                    with tempfile.TemporaryFile():
                        error_name = type(error).__name__
                write_frame(replies, encode(Failure(422, error_name)))
            case "refuse":
                write_frame(replies, encode(Failure(422, "row 0: no")))
            case "wait":
                time.sleep(0.2)
                write_frame(replies, encode(ComputedFeatures([[1.5, None]], [0], [])))
            case _:
                write_frame(replies, encode(ComputedFeatures([[1.5, None]], [0], [])))


main()
