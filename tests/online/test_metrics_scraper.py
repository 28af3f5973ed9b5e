"""The metrics pages of the servers behind one address, summed."""

import contextlib
import itertools
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.features.schema import Feature, FeatureSchema
from ml_pipeline.online import metrics_scraper
from ml_pipeline.online.metrics_scraper import Servers
from ml_pipeline.serving.server_metrics import Metrics, ServedModel
from ml_pipeline.tasks.binary_classification import BINARY

from tests.servers import free_port

PATHS = ("/predict", "/invocations", "/metrics")
SCHEMA = FeatureSchema((Feature("x", "numeric"),))


def server(digest="d", requests=0, started=0.0):
    """Metrics of a server that answered ``requests`` requests, each in 3 ms with 0.42."""
    metrics = Metrics(ServedModel("small", 3, digest, BINARY, SCHEMA), PATHS)
    metrics._started = started
    answer(metrics, requests)
    return metrics


def answer(metrics, requests, status=200, path="/predict"):
    for _ in range(requests):
        metrics.record(path, status, 0.003)
        metrics.count_predictions([0.42])


class Address:
    """One address; each connection reaches the next of ``behind``. None answers 503."""

    def __init__(self, *behind, token=""):
        turns = itertools.cycle(range(len(behind)))
        self.behind, self.request_headers = list(behind), []
        address = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                self.page_source = address.behind[next(turns)]

            def do_GET(self):
                address.request_headers.append(dict(self.headers))
                status, page = 200, self.page_source
                if self.page_source is None:
                    status, page = 503, b"{}"
                elif isinstance(self.page_source, Metrics):
                    page = self.page_source.page("")[0]
                if token and self.headers.get("authorization") != f"Bearer {token}":
                    status = 401
                self.send_response(status)
                self.send_header("content-length", str(len(page)))
                self.end_headers()
                self.wfile.write(page)

            def log_message(self, *_):
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def test_a_page_has_the_scoring_requests_by_status():
    metrics = server(requests=3, started=7.5)
    answer(metrics, 2, 422, "/invocations")
    metrics.record("/metrics", 200, 0.1)
    page = metrics_scraper.parse(metrics.page("")[0].decode())
    assert (page.digest, page.started) == ("d", 7.5)
    assert page.statuses == {200: 3, 422: 2}
    assert {bound: n for bound, n in page.seconds.items() if n} == {0.005: 5}
    assert {bound: n for bound, n in page.predictions.items() if n} == {0.45: 5}
    assert list(page.seconds)[-1] == list(page.predictions)[-1] == float("inf")


def test_the_servers_behind_an_address_are_summed():
    with Address(server(requests=10, started=1.0), server(requests=5, started=2.0)) as at:
        servers = Servers(at.url, "d")
        assert servers.scrape()
        totals = servers.totals()
    assert totals.instances == 2
    assert totals.statuses == {200: 15}
    assert sum(totals.predictions.values()) == 15


def test_a_later_scrape_replaces_a_servers_page_and_keeps_those_of_ended_servers():
    first, second = server(requests=10, started=1.0), server(requests=5, started=2.0)
    with Address(first, second) as at:
        servers = Servers(at.url, "d")
        servers.scrape()
        answer(first, 1)
        at.behind[1] = server(requests=100, started=3.0)
        servers.scrape()
        totals = servers.totals()
    assert totals.statuses == {200: 11 + 5 + 100}
    assert totals.instances == 3


def test_another_bundle_is_reported_and_not_counted():
    with Address(server(requests=1), server("other", requests=9, started=2.0)) as at:
        servers = Servers(at.url, "d")
        assert servers.scrape()
        assert servers.totals().statuses == {200: 1}
        assert servers.others == {"other"}
        at.behind[0] = at.behind[1]
        assert not servers.scrape(), "none of the bundle is left"


def test_each_request_has_its_own_connection_and_the_probe_id():
    with Address(server(requests=1), token="s3cret") as at:
        assert Servers(at.url, "d", "s3cret").scrape()
        assert {request_headers["connection"] for request_headers in at.request_headers} == {
            "close"
        }
        assert {request_headers["x-request-id"] for request_headers in at.request_headers} == {
            "ml-pipeline-probe"
        }


def test_an_address_without_a_server_has_no_counts():
    servers = Servers(f"http://127.0.0.1:{free_port()}", "d")
    assert not servers.scrape()
    assert servers.totals().statuses == {}
    with Address(None) as at:
        assert not Servers(at.url, "d").scrape(), "a gateway without a server behind it"


@pytest.mark.parametrize(
    ("page", "token", "message"),
    [
        (None, "s3cret", "status 401; expected 200"),
        (b"<html>hello</html>", "", "/metrics: "),
        (b"# EOF\n", "", "not the metrics page of a model server"),
        (b"ml_serving_requests_total 3\n", "", "/metrics: "),
    ],
)
def test_a_page_of_another_server_is_an_error(page, token, message):
    with contextlib.ExitStack() as stack:
        at = stack.enter_context(Address(page or server(), token=token))
        with pytest.raises(EnvironmentFault, match=message):
            Servers(at.url, "d", "wrong" if token else None).scrape()
