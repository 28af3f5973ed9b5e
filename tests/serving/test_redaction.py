"""Redacted features: no value of them is in the prediction log or in the server's log."""

import io
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_pipeline.core.errors import UsageError
from ml_pipeline.serving import logs, server
from ml_pipeline.serving.app import RequestLimits, make_app
from ml_pipeline.serving.prediction_log import LoggedModel, PredictionLog, Rotation, files, read
from ml_pipeline.serving.redaction import Redaction, RowRedaction, hashed_value, read_key

from tests.serving.conftest import Api

KEY = b"k" * 32
FEATURES = ["x", "customer", "email"]
VALUES = st.none() | st.integers() | st.floats(allow_nan=False) | st.text("a1 ")


def redact(**treatments):
    return RowRedaction(Redaction(treatments, KEY), FEATURES)


def test_a_feature_is_hashed_or_left_out():
    redaction = redact(customer="hash", email="omit", gone="omit")
    assert redaction.features == ["x", "customer"]
    assert (redaction.hashed, redaction.omitted) == (["customer"], ["email"])
    assert redaction.unknown == ["gone"]
    rows = redaction([[1.5, "c-17", "a@example.org"], [2.5, None, None], [3.5]])
    assert rows == [[1.5, hashed_value(KEY, "customer", "c-17")], [2.5, None], [3.5, None]]


@given(VALUES, VALUES)
def test_values_have_the_same_hash_if_they_are_equal(one, other):
    same = one == other or (
        isinstance(one, str) and isinstance(other, str) and one.strip() == other.strip()
    )
    hashes = [hashed_value(KEY, "customer", value) for value in (one, other)]
    if same:
        assert hashes[0] == hashes[1]
    elif isinstance(one, str) or isinstance(other, str) or None in (one, other):
        assert hashes[0] != hashes[1]


def test_the_hash_depends_on_key_and_feature():
    hashes = {
        hashed_value(key, feature, value)
        for key in (KEY, b"l" * 32)
        for feature in ("customer", "email")
        for value in ("41", 41, True)
    }
    assert len(hashes) == 12
    assert hashed_value(KEY, "customer", 41) == hashed_value(KEY, "customer", 41.0)
    assert len(hashes.pop()) == len("hmac:") + 32


@pytest.mark.parametrize("text", ["", "k3-too-few"])
def test_a_missing_or_short_key_is_refused(tmp_path, monkeypatch, text):
    (tmp_path / "key").write_text(text)
    monkeypatch.setenv("REDACT_KEY", text)
    with pytest.raises(UsageError, match="environment variable REDACT_KEY holds no key"):
        read_key("REDACT_KEY", None)
    with pytest.raises(UsageError, match="holds no key for serving") as refused:
        read_key(None, tmp_path / "key")
    assert not text or text not in str(refused.value)
    with pytest.raises(UsageError, match="No such file"):
        read_key(None, tmp_path / "none")


def test_a_name_that_is_no_feature_is_a_warning(bundle, tmp_path, caplog):
    redaction = Redaction({"custmer": "omit"}, None)
    server._prediction_log(Rotation(tmp_path), bundle, 3, redaction).close()
    assert "serving.redact names what is no feature of this model: custmer" in caplog.text


def test_neither_log_has_a_value_of_a_redacted_feature(bundle, state, tmp_path):
    names = list(bundle.schema.names)
    redaction = RowRedaction(Redaction({names[1]: "hash"}, KEY), names)
    model = LoggedModel("small", 3, bundle.digest, names, hashed=redaction.hashed)
    log = PredictionLog(Rotation(tmp_path), model, redact=redaction)
    limits = RequestLimits(2_000, 4)
    stream = io.StringIO()
    root = logging.getLogger()
    before = root.handlers[:]
    logs.configure(stream)
    try:
        api = Api(make_app(bundle, 3, limits, state, log=log, log_errors=False))
        assert api.predict([1.0, "north"]).status_code == 200
        refused = api.predict([1.0, 98765])
    finally:
        root.handlers[:] = before
        log.close()
    assert refused.status_code == 422
    assert "98765" in refused.json()["error"], "the client learns what is wrong"
    assert "98765" not in stream.getvalue()
    assert "serving.redact" in json.loads(stream.getvalue().splitlines()[-1])["error"]
    ((source, entry),) = read(tmp_path)
    assert source.hashed == [names[1]]
    assert entry.features == [[1.0, hashed_value(KEY, names[1], "north")]]
    assert b"north" not in files(tmp_path)[0].read_bytes()
