"""Which requests shadow replays where production's log is redacted or unavailable."""

from types import SimpleNamespace

import pytest
from ml_pipeline.core.errors import EnvironmentFault, UsageError
from ml_pipeline.online import recorded_requests
from ml_pipeline.stages import shadow

HEADER = '{"schema":"ml-pipeline/predictions/1","model":"m","model_version":1,"digest":"d",'
LINE = '{"request_id":"a","time":1.0,"model_version":1,"features":[["hmac:0"]],"probability":[0.5]}'
CHAMPION = SimpleNamespace(schema=SimpleNamespace(names=("customer",)))


def replayed(monkeypatch, source, folder):
    """Return the recorded rows that are replayed, and the messages."""
    messages = []
    section = SimpleNamespace(source=source, requests=9, min_requests=1)
    context = SimpleNamespace(
        config=SimpleNamespace(shadow=section),
        project=None,
        home=None,
        take=None,
        trained=lambda _: True,
        progress=lambda text, _: messages.append(text),
    )
    monkeypatch.setattr(recorded_requests, "prediction_log_folder", folder)
    monkeypatch.setattr(shadow, "choose_requests", lambda *words, **_: words[4])
    bundle, version = SimpleNamespace(identity="i"), SimpleNamespace(number=1)
    return shadow._requests(context, bundle, CHAMPION, version), messages


def test_redacted_requests_are_not_replayed(monkeypatch, tmp_path):
    header = HEADER + '"features":["customer"],"hashed":["customer"]}'
    (tmp_path / "1.jsonl").write_text(f"{header}\n{LINE}\n")
    rows, (message,) = replayed(monkeypatch, "auto", lambda *_: tmp_path)
    assert rows == []
    assert message.startswith("the prediction log lacks values of customer (serving.redact)")
    with pytest.raises(UsageError, match=r"lacks values of customer.*cannot be replayed"):
        replayed(monkeypatch, "recorded", lambda *_: tmp_path)


def test_a_log_that_cannot_be_copied_is_an_error_only_if_no_other_requests_will_do(monkeypatch):
    def unavailable(*_):
        raise EnvironmentFault("kubectl exec pod: Forbidden")

    rows, (message,) = replayed(monkeypatch, "auto", unavailable)
    assert rows == []
    assert "kubectl exec pod: Forbidden; replaying the holdout" in message
    with pytest.raises(EnvironmentFault, match="Forbidden"):
        replayed(monkeypatch, "recorded", unavailable)
