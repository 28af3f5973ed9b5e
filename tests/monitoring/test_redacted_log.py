"""A look at a log with redacted features: they are named, everything else is judged."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from ml_pipeline.core.report import Verdict
from ml_pipeline.monitoring.conclusions import Conclusion
from ml_pipeline.serving.prediction_log import LoggedModel, LoggedRequest
from ml_pipeline.serving.redaction import Redaction, RowRedaction, Treatment

from tests.monitoring.model_in_use import InUse, rows


def redact(model: InUse, day: int, **treatments: Treatment) -> None:
    """Serve a day whose log is redacted as the server does it."""
    path = model.serve(day, rows(500, seed=20 + day))
    first, *lines = path.read_bytes().splitlines()
    header = msgspec.json.decode(first, type=LoggedModel)
    redaction = RowRedaction(Redaction(treatments, b"k" * 32), header.features)
    requests = [msgspec.json.decode(line, type=LoggedRequest) for line in lines]
    entries = [
        msgspec.structs.replace(
            header,
            features=redaction.features,
            hashed=redaction.hashed,
            omitted=redaction.omitted,
        ),
        *(msgspec.structs.replace(one, features=redaction(one.features)) for one in requests),
    ]
    path.write_bytes(b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries))


@pytest.mark.parametrize("treatment", ["hash", "omit"])
@pytest.mark.parametrize(("redacted", "judged"), [("x", "c"), ("c", "x")])
def test_a_redacted_feature_is_named_and_the_others_are_judged(
    in_use: Callable[..., InUse], treatment: Treatment, redacted: str, judged: str
) -> None:
    model = in_use()
    redact(model, 0, **{redacted: treatment})
    result = model.look(0)
    checks = {check.name: check for check in result.checks}
    assert result.suggestion.conclusion is Conclusion.FINE
    assert checks[f"drift of {redacted}"].verdict is Verdict.SKIPPED
    assert "serving.redact" in checks[f"drift of {redacted}"].why
    assert checks[f"drift of {judged}"].verdict is Verdict.PASS
    assert checks["drift of prediction"].verdict is Verdict.PASS
    redact(model, 1)
    redact(model, 2, **{redacted: treatment})
    assert model.look(2).suggestion.conclusion is Conclusion.FINE
