"""How many requests each step of a delivery sends to MLflow, counted by a proxy before a server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from ml_pipeline.core.home import Home
from ml_pipeline.promotion.agreement import contenders
from ml_pipeline.promotion.environment import Production
from ml_pipeline.promotion.rollback import rollback
from ml_pipeline.registry.registry import Registry

from tests.fault_proxy import FaultProxy, Request, fault_proxy
from tests.mlflow_server import mlflow_server
from tests.promotion.conftest import Delivery

pytestmark = pytest.mark.slow


def count(proxy: FaultProxy, step: Callable[[], object]) -> list[Request]:
    proxy.heals()
    step()
    return list(proxy.seen)


def number_of(requests: list[Request], path: str) -> int:
    return sum(f"/{path}" in request.path for request in requests)


def test_each_step_of_a_delivery(
    tmp_path: Path, registry_database: Path, make_bundle: Callable[..., Path]
) -> None:
    folder, home = tmp_path / "server", Home(tmp_path / "home")
    folder.mkdir()
    home.make()
    (folder / "server.db").write_bytes(registry_database.read_bytes())
    with mlflow_server(folder, "sqlite:///server.db") as url, fault_proxy(url) as proxy:
        one = Delivery(home, Registry(proxy.url, "small", home), make_bundle)

        def process() -> Delivery:
            """Return the delivery as another process sees it, which has read nothing yet."""
            registry = Registry(proxy.url, "small", home)
            return Delivery(home, registry, make_bundle, target=one.target, signer=one.signer)

        one.deliver("one", identity="a")
        production = Production(one.target, one.placement)
        bundle = one.make_bundle("two", identity="b", weight=2.0)
        registration = count(proxy, lambda: process().registry.register(bundle))
        version = process().registry.read().version(2)
        process().gate(version)
        process().approve(version)
        reading = count(proxy, lambda: contenders(process().registry, production, home))
        promotion = count(proxy, lambda: process().promote())
        change = count(
            proxy,
            lambda: rollback(
                process().registry,
                [one.signer.public_key],
                production,
                to=1,
                by="Bina",
                reason="alarms",
                run_id="run-2",
            ),
        )
    assert len(registration) == 29
    assert number_of(registration, "artifacts/model/") == 14
    assert len(reading) == 3
    assert len(promotion) == 23
    assert number_of(promotion, "artifacts/bundle/") == 7
    once = {"model-versions/search": 1, "runs/log-batch": 1, "runs/set-tag": 1}
    assert {path: number_of(promotion, path) for path in once} == once
    assert len(change) == 8
