"""The champion's requests, replayed to a challenger."""

from dataclasses import replace

import httpx
import pytest
from ml_pipeline.bundle.reader import Bundle, Golden
from ml_pipeline.features.schema import Feature, FeatureSchema
from ml_pipeline.online.champion_requests import ChampionRequests, replay
from ml_pipeline.serving.app import RequestLimits, ServerProcessState, make_app

X, C = Feature("x", "numeric"), Feature("c", "categorical", ("north", "south"))
CHAMPION = FeatureSchema((X, C))
ROWS = [[1.0, "north"], [None, "south"], [-2.0, None]]
LIMITS = RequestLimits(5_000, 10)


@pytest.fixture
def replay_rows(serve, make_bundle):
    """Send the champion's rows to a challenger that takes other features."""

    def send(*features, rows=ROWS, limits=LIMITS, champion=CHAMPION, unseen="missing"):
        bundle = Bundle.open(make_bundle())
        bundle.schema = FeatureSchema(features, unseen)
        bundle.golden = Golden([[None] * len(features)], [0.5])
        serve(make_app(bundle, 3, limits, ServerProcessState()))
        requests = ChampionRequests("recorded", 2, champion, rows)
        return replay("http://api", requests, bundle.schema, None)

    return send


@pytest.mark.parametrize(
    "features", [(X, C), (X, replace(C, optional=True)), (replace(X, minimum=0.0, maximum=1.0), C)]
)
def test_a_challenger_that_keeps_the_contract_answers_all_of_them(replay_rows, features):
    check = replay_rows(*features)
    assert (check.verdict, check.required) == ("pass", True)
    assert check.observed == "3 recorded rows of version 2 are answered, by name and by position"


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ((X, replace(C, name="d")), "unknown feature 'c'"),
        ((C, replace(X, name="y")), "unknown feature 'x'"),
    ],
)
def test_a_breaking_challenger_is_reported_and_the_gate_decides(replay_rows, features, message):
    check = replay_rows(*features)
    assert (check.verdict, check.required) == ("fail", False)
    assert check.observed.startswith("3 of 3 recorded rows of version 2 are refused, the first one")
    assert message in check.observed
    assert check.observed.endswith("the gate decides")


def test_another_feature_order_is_detected(replay_rows):
    """Two numeric features are swapped: rows by name are right, rows by position are wrong."""
    numbers = (Feature("a", "numeric"), Feature("b", "numeric"), Feature("c", "numeric"))
    champion = FeatureSchema(numbers)
    rows = [[1.0, 2.0, 3.0], [4.0, 5.0, 5.0], [0.0, 0.0, 0.0]]
    check = replay_rows(*reversed(numbers), rows=rows, champion=champion)
    assert (check.verdict, check.required) == ("fail", False)
    assert (
        "2 of 3 recorded rows of version 2 are answered differently by position" in check.observed
    )
    assert "was 'a' and is 'c'; such a request is answered all the same" in check.observed


def test_refused_rows_are_counted_one_by_one(replay_rows):
    check = replay_rows(X, replace(C, categories=("north", "west")), unseen="refuse")
    assert "1 of 3 recorded rows of version 2 are refused" in check.observed
    assert "'south'" in check.observed


def test_the_servers_limits_are_respected(replay_rows):
    assert replay_rows(X, C, rows=ROWS * 60, limits=RequestLimits(5_000, 1)).verdict == "pass"


def test_invalid_unicode_is_sent_as_the_client_did(replay_rows):
    assert replay_rows(X, C, rows=[[1.0, "\ud800"], [1.0, "\0"], [1.0, "\u2028"]]).verdict == "pass"


def test_a_champion_without_rows_fails_the_check(replay_rows):
    check = replay_rows(X, C, rows=[])
    assert (check.verdict, check.why) == ("fail", "the champion has no rows")


def test_a_server_error_fails_the_check(serve):
    async def broken(scope, receive, send):
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b"no JSON"})

    serve(broken)
    check = replay("http://api", ChampionRequests("golden", 2, CHAMPION, ROWS), CHAMPION, None)
    assert (check.verdict, check.required) == ("fail", True)
    assert "500: no message" in check.why
    assert httpx.codes.INTERNAL_SERVER_ERROR == 500
