"""The reasons for which requests for predictions are refused: a fixed set, for the metrics."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from ml_pipeline.features.schema import FeatureError
from ml_pipeline.serving.request_checks import RequestError

Reason = Literal[
    "authorization", "format", "features", "contract", "size", "content_type", "raw_rows", "load"
]
REASONS: Final[dict[Reason, str]] = {
    "authorization": "401",
    "format": "400, 408 or 422: the body cannot be read",
    "features": "422, or 400 on /invocations: a row does not fit the model",
    "contract": "409",
    "size": "413",
    "content_type": "415",
    "raw_rows": "501: features cannot be computed here",
    "load": "429 or 503: the queue is full, or the predictions took too long",
}
BY_STATUS: Final[dict[int, Reason]] = {
    401: "authorization",
    409: "contract",
    413: "size",
    415: "content_type",
    429: "load",
    501: "raw_rows",
    503: "load",
}
SERVER_FAULT: Final = 500


class Refusal(NamedTuple):
    """Why a request was refused."""

    reason: Reason
    unseen: str | None = None
    """The feature whose category training did not have, if that is why."""


def refusal_of(error: Exception) -> Refusal | None:
    """Return why a request with this error was refused; None if the server is at fault."""
    if isinstance(error, FeatureError):
        return Refusal("features", error.feature if error.unseen else None)
    if not isinstance(error, RequestError):
        return None
    if error.schema_error:
        return Refusal("features")
    if error.status < SERVER_FAULT:
        return Refusal(BY_STATUS.get(error.status, "format"))
    reason = BY_STATUS.get(error.status)
    return None if reason is None else Refusal(reason)
