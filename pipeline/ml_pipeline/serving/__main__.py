"""``python -m ml_pipeline.serving --bundle DIR``: serve one bundle."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ml_pipeline.core.errors import PipelineError


def main(arguments: list[str] | None = None) -> int:
    """Serve until a signal ends it; return the exit code, with one line on stderr if not 0."""
    parser = argparse.ArgumentParser(prog="python -m ml_pipeline.serving", description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True, help="the bundle's folder")
    parser.add_argument("--version", type=int, help="the registered version, told to clients")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument(
        "--published", help="the host at which a container's port is reached, if not --host"
    )
    parser.add_argument("--max-body", type=int, default=1_000_000, help="bytes of a request")
    parser.add_argument("--max-rows", type=int, default=1_000, help="rows of a request")
    parser.add_argument(
        "--max-queue", type=int, default=64, help="requests that wait for a slow model"
    )
    parser.add_argument(
        "--max-seconds", type=float, default=5.0, help="longest time that one of them waits"
    )
    parser.add_argument("--environment", help="its name, in messages about raw rows")
    parser.add_argument("--no-raw", action="store_true", help="take no rows before features")
    parser.add_argument("--raw-off", action="store_true", help="answer 501 to raw rows")
    parser.add_argument("--raw-rows", type=int, default=10_000, help="raw rows of a request")
    parser.add_argument("--raw-queue", type=int, default=8, help="requests of raw rows that wait")
    parser.add_argument("--raw-seconds", type=float, default=10.0, help="for one of them")
    parser.add_argument(
        "--raw-memory", type=int, default=2 << 30, help="bytes that the feature worker may hold"
    )
    parser.add_argument("--raw-scratch", type=Path, help="folder that the worker writes to")
    parser.add_argument("--predictions", type=Path, help="folder of the prediction log")
    parser.add_argument("--predictions-bytes", type=int, default=64 << 20, help="of a file")
    parser.add_argument("--predictions-keep", type=int, default=16, help="files at most")
    parser.add_argument(
        "--log-requests", type=float, default=0.0, help="share of requests in the log, 0 to 1"
    )
    parser.add_argument("--token-env", help="environment variable that holds the bearer token")
    sockets = parser.add_mutually_exclusive_group()
    sockets.add_argument("--control", type=Path, help="Unix socket for the deploying process")
    sockets.add_argument("--shadow-control", type=Path, help="Unix socket for a live shadow alone")
    given = parser.parse_args(arguments)
    from ml_pipeline.serving import logs, server
    from ml_pipeline.serving.app import Limits
    from ml_pipeline.serving.feature_worker_process import RawLimits, RawPlace
    from ml_pipeline.serving.prediction_log import Rotation

    logs.configure()
    limits = Limits(given.max_body, given.max_rows, given.max_queue, given.max_seconds)
    raw = RawLimits(given.raw_rows, given.raw_queue, given.raw_seconds, given.raw_memory)
    place = RawPlace(given.environment, off=given.raw_off, scratch=given.raw_scratch)
    folder: Path | None = given.predictions

    try:
        server.run(
            given.bundle,
            version=given.version,
            limits=limits,
            host=given.host,
            port=given.port,
            published=given.published,
            token_env=given.token_env,
            control_path=given.control,
            shadow_path=given.shadow_control,
            predictions=(
                Rotation(folder, given.predictions_bytes, given.predictions_keep)
                if folder
                else None
            ),
            log_requests=given.log_requests,
            raw=None if given.no_raw else raw,
            raw_place=place,
        )
    except PipelineError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
