"""Stands in for the feature worker: does what the body of a request says."""

import os
import sys
import tempfile
import time
from pathlib import Path

from ml_pipeline.serving.feature_messages import (
    HEADER,
    Failure,
    Features,
    Ready,
    encode,
    read_frame,
    write_frame,
)


def main():
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    write_frame(answers, encode(Ready()))
    while (body := read_frame(asked)) is not None:
        match body.decode():
            case "hang":
                time.sleep(600)
            case "crash":
                os._exit(9)
            case "end":
                write_frame(answers, encode(Failure(422, "the last one")))
                return
            case "nonsense":
                write_frame(answers, b"nonsense")
            case "ready":
                write_frame(answers, encode(Ready()))
            case "large":
                answers.write(HEADER.pack(2**31))
                answers.flush()
            case "environment":
                write_frame(answers, encode(Failure(422, " ".join(sorted(os.environ)))))
            case "write":
                try:
                    Path(os.environ["PYTHONPATH"], "written").touch()
                except OSError as error:
                    with tempfile.TemporaryFile():
                        told = type(error).__name__
                write_frame(answers, encode(Failure(422, told)))
            case "refuse":
                write_frame(answers, encode(Failure(422, "row 0: no")))
            case "wait":
                time.sleep(0.2)
                write_frame(answers, encode(Features([[1.5, None]], [0], [])))
            case _:
                write_frame(answers, encode(Features([[1.5, None]], [0], [])))


main()
