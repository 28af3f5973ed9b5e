"""The start-up check of the bounded protocol, and the fallback to uvicorn's plain one."""

import ast
import inspect
import logging
import os
import signal
import socket
import sys
import threading
import tomllib
from pathlib import Path

import httptools
import httpx
import pytest
import uvicorn
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.serving import http_protocol, protocol_choice, server
from ml_pipeline.serving.app import RequestLimits
from ml_pipeline.serving.http_protocol import BoundedProtocol
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from uvicorn.protocols.http import flow_control, httptools_impl

from tests.servers import await_ready, free_port

ROOT = Path(__file__).parents[2]
INSTALL = "install 'uvicorn>=0.54,<0.55' 'httptools>=0.9,<0.10'"


def choose(caplog):
    """Return the protocol of a server's configuration, and the lines that were logged."""
    config = server._config(lambda scope, receive, send: None)
    config.load()
    return config.http_protocol_class, [record.getMessage() for record in caplog.records]


def test_the_locked_releases_take_the_fast_path(caplog):
    assert choose(caplog) == (BoundedProtocol, [])


@pytest.mark.parametrize("version", ["0.54.7", "0.54.0rc1"])
def test_a_patch_release_takes_the_fast_path(version, monkeypatch, caplog):
    monkeypatch.setattr(uvicorn, "__version__", version)
    assert choose(caplog) == (BoundedProtocol, [])


@pytest.mark.parametrize(
    ("module", "version"),
    [
        (uvicorn, "0.55.0"),
        (uvicorn, "0.53.9"),
        (uvicorn, "1.54.0"),
        (uvicorn, "main"),
        (httptools, "0.10.0"),
        (httptools, "0.8.0"),
    ],
)
def test_another_release_takes_the_plain_protocol(module, version, monkeypatch, caplog):
    monkeypatch.setattr(module, "__version__", version)
    protocol, (line,) = choose(caplog)
    assert protocol.__name__ == "H11Protocol"
    assert line.startswith(f"{module.__name__} {version} is installed, {module.__name__}>=0.")
    assert line.endswith(INSTALL)


@pytest.mark.parametrize(
    ("owner", "name", "reason"),
    [
        (httptools_impl.HttpToolsProtocol, "on_header", "HttpToolsProtocol has no on_header"),
        (flow_control.FlowControl, "resume_reading", "FlowControl has no resume_reading"),
        (httptools_impl, "RequestResponseCycle", "has no uvicorn.protocols"),
        (httptools_impl, "STATUS_LINE", "httptools_impl:STATUS_LINE"),
    ],
)
def test_a_missing_name_takes_the_plain_protocol(owner, name, reason, monkeypatch, caplog):
    monkeypatch.delattr(owner, name)
    protocol, (line,) = choose(caplog)
    assert protocol.__name__ == "H11Protocol"
    assert reason in line
    assert line.endswith(INSTALL)


def test_an_instance_attribute_that_is_not_set_takes_the_plain_protocol(monkeypatch, caplog):
    def with_other_names(self, *arguments):
        self.renamed = arguments

    cycle = httptools_impl.RequestResponseCycle
    for name in [name for name, value in vars(cycle).items() if inspect.isfunction(value)]:
        monkeypatch.setattr(cycle, name, with_other_names)
    protocol, (line,) = choose(caplog)
    assert protocol.__name__ == "H11Protocol"
    assert "has no more_body, response_complete, response_started, scope" in line


def test_a_missing_httptools_takes_the_plain_protocol(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "httptools", None)
    protocol, (line,) = choose(caplog)
    assert protocol.__name__ == "H11Protocol"
    assert line.startswith("httptools is not installed: ")


def test_the_bounds_are_those_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {each.name: each.specifier for each in map(Requirement, project["dependencies"])}
    for name in protocol_choice.SUPPORTED:
        bounds = protocol_choice._requirement(name).removeprefix(name)
        assert declared[name] == SpecifierSet(bounds)


def test_every_name_that_the_bounded_protocol_uses_is_checked():
    tree = ast.parse(inspect.getsource(http_protocol))
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    own |= {node.attr for node in attributes if node.attr.startswith("_")}
    overridden = own & set(vars(httptools_impl.HttpToolsProtocol))
    used = {}
    for node in attributes:
        used.setdefault(ast.unparse(node.value), set()).add(node.attr)
    required = {
        path.split(":")[1]: set(names.split()) for path, names in protocol_choice.REQUIRED.items()
    }
    public = {name for name in overridden if not name.startswith("_")}
    assert (used["self"] - own) | public <= required["HttpToolsProtocol"]
    assert used["self.cycle"] <= required["RequestResponseCycle"]
    assert used["self.flow"] <= required["FlowControl"]
    assert used["self.server_state"] <= required["ServerState"]
    assert used["parser"] <= required["HttpRequestParser"]


class ServerWithoutListeners:
    """A ``uvicorn.Server`` of a later release, which keeps its listeners elsewhere."""

    def __init__(self, config):
        self.config, self.server_state, self.lifespan = config, None, None

    async def serve(self, sockets=None):
        self.listeners = sockets

    async def startup(self, sockets=None): ...

    async def shutdown(self, sockets=None): ...


def test_a_uvicorn_without_what_the_server_uses_is_refused_before_anything_starts(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("uvicorn.server.Server", ServerWithoutListeners)
    monkeypatch.setattr(uvicorn, "__version__", "0.60.0")
    with pytest.raises(EnvironmentFault) as caught:
        server.run(
            tmp_path / "not read", version=1, limits=RequestLimits(1, 1), host="127.0.0.1", port=0
        )
    assert str(caught.value) == (
        "the server cannot use uvicorn 0.60.0: uvicorn.server:Server has no servers; expected "
        "uvicorn>=0.54,<0.55; install 'uvicorn>=0.54,<0.55'"
    )


def test_every_name_that_the_server_uses_is_checked():
    tree = ast.parse(inspect.getsource(server))
    [defined] = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "ModelServer"]
    attributes = [node for node in ast.walk(defined) if isinstance(node, ast.Attribute)]
    used = {}
    for node in attributes:
        used.setdefault(ast.unparse(node.value), set()).add(node.attr)
    own = {node.name for node in ast.walk(defined) if "FunctionDef" in type(node).__name__}
    inherited = used["super()"] - {"__init__"} | {n for n in used["self"] if not n.startswith("_")}
    required = {
        path.split(":")[1]: set(names.split())
        for path, names in protocol_choice.SERVER_REQUIRED.items()
    }
    assert inherited - (own - used["super()"]) - {"public"} <= required["Server"]
    assert used["self.server_state"] <= required["ServerState"]
    assert used["self.config"] <= required["Config"]
    assert used["self.lifespan"] <= required["LifespanOff"]


@pytest.mark.slow
def test_the_plain_protocol_answers_and_bounds_body_and_headers(make_bundle, monkeypatch, caplog):
    monkeypatch.setattr(uvicorn, "__version__", "0.55.0")
    caplog.set_level(logging.WARNING)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    row = {"features": [1.0, "north"]}
    results = {}

    def client():
        try:
            await_ready(url)
            results["health"] = httpx.get(f"{url}/health").status_code
            results["version"] = httpx.post(f"{url}/predict", json=row).json()["model_version"]
            results["large"] = httpx.post(f"{url}/predict", content=b"x" * 1001).status_code
            results["head"] = endless_head(port)
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=client)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        server.run(
            make_bundle(), version=4, limits=RequestLimits(1000, 1), host="127.0.0.1", port=port
        )
    thread.join()
    assert results.pop("head") < 10_000_000
    assert results == {"health": 200, "version": 4, "large": 413}
    lines = [record.getMessage() for record in caplog.records if "plain" in record.getMessage()]
    assert len(lines) == 1
    assert lines[0].endswith(INSTALL)


def endless_head(port):
    """Return the bytes of headers that were accepted before the connection was closed."""
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nx: ")
        try:
            while sent < 50_000_000:
                sent += connection.send(b"x" * 10_000)
        except (BrokenPipeError, ConnectionResetError):
            return sent
    return sent
