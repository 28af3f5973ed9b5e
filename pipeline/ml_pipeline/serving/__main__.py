"""``python -m ml_pipeline.serving --bundle DIR``: serve one bundle."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ml_pipeline.core.errors import PipelineError
from ml_pipeline.serving.redaction import Redaction, read_key


def main(arguments: list[str] | None = None) -> int:
    """Serve until a signal; return the exit code, with one line on stderr if it is not 0."""
    parser = argparse.ArgumentParser(prog="python -m ml_pipeline.serving", description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True, help="the bundle's folder")
    parser.add_argument("--version", type=int, help="the registered version")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument(
        "--published", help="the host on which a container's port is published, if not --host"
    )
    parser.add_argument("--max-body", type=int, default=1_000_000, help="bytes of a request")
    parser.add_argument("--max-rows", type=int, default=1_000, help="rows of a request")
    parser.add_argument(
        "--max-queue", type=int, default=64, help="requests that may wait for the model"
    )
    parser.add_argument(
        "--max-seconds",
        type=float,
        default=5.0,
        help="longest time that a request waits for the model",
    )
    parser.add_argument("--environment", help="name of the environment, for error messages")
    parser.add_argument("--no-raw", action="store_true", help="do not accept raw rows")
    parser.add_argument("--raw-off", action="store_true", help="respond 501 to raw rows")
    parser.add_argument("--raw-rows", type=int, default=10_000, help="raw rows of a request")
    parser.add_argument(
        "--raw-queue", type=int, default=8, help="requests of raw rows that may wait"
    )
    parser.add_argument(
        "--raw-seconds", type=float, default=10.0, help="longest time for a request of raw rows"
    )
    parser.add_argument(
        "--raw-memory", type=int, default=2 << 30, help="bytes of memory of the feature worker"
    )
    parser.add_argument(
        "--raw-scratch", type=Path, help="folder that the feature worker may write to"
    )
    parser.add_argument("--predictions", type=Path, help="folder of the prediction log")
    parser.add_argument(
        "--predictions-bytes",
        type=int,
        default=64 << 20,
        help="bytes of a file of the prediction log",
    )
    parser.add_argument(
        "--predictions-keep", type=int, default=16, help="files that the prediction log keeps"
    )
    parser.add_argument("--predictions-days", type=float, help="days that it keeps a file")
    parser.add_argument("--predictions-total", type=int, help="bytes of all its files")
    parser.add_argument(
        "--redact", type=json.loads, help="JSON object: hash or omit for features in that log"
    )
    parser.add_argument("--redact-key-env", help="environment variable with the key of the hashes")
    parser.add_argument("--redact-key-file", type=Path, help="file with it")
    parser.add_argument(
        "--log-requests", type=float, default=0.0, help="share of requests in the log, 0 to 1"
    )
    parser.add_argument("--token-env", help="environment variable that holds the bearer token")
    sockets = parser.add_mutually_exclusive_group()
    sockets.add_argument("--control", type=Path, help="Unix socket for the deploying process")
    sockets.add_argument(
        "--shadow-control",
        type=Path,
        help="Unix socket that accepts commands of a live shadow only",
    )
    options = parser.parse_args(arguments)
    from ml_pipeline.serving import logs, server
    from ml_pipeline.serving.app import RequestLimits
    from ml_pipeline.serving.feature_worker_process import RawRowLimits, RawRowsContext
    from ml_pipeline.serving.prediction_log import Rotation

    logs.configure()
    limits = RequestLimits(
        options.max_body, options.max_rows, options.max_queue, options.max_seconds
    )
    raw = RawRowLimits(options.raw_rows, options.raw_queue, options.raw_seconds, options.raw_memory)
    raw_context = RawRowsContext(
        options.environment, disabled=options.raw_off, scratch=options.raw_scratch
    )
    predictions: Path | None = options.predictions

    try:
        server.run(
            options.bundle,
            version=options.version,
            limits=limits,
            host=options.host,
            port=options.port,
            published=options.published,
            token_env=options.token_env,
            control_path=options.control,
            shadow_path=options.shadow_control,
            predictions=(
                Rotation(
                    folder=predictions,
                    max_bytes=options.predictions_bytes,
                    keep=options.predictions_keep,
                    keep_days=options.predictions_days,
                    total_bytes=options.predictions_total,
                )
                if predictions
                else None
            ),
            redaction=_redaction(options),
            log_requests=options.log_requests,
            raw=None if options.no_raw else raw,
            raw_context=raw_context,
        )
    except PipelineError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 0
    return 0


def _redaction(options: argparse.Namespace) -> Redaction | None:
    if not options.redact:
        return None
    hashes = "hash" in options.redact.values()
    key = read_key(options.redact_key_env, options.redact_key_file) if hashes else None
    return Redaction(options.redact, key)


if __name__ == "__main__":
    raise SystemExit(main())
