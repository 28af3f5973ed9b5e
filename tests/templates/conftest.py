"""Prometheus' own checker, and the metrics of a server that has seen every kind of request."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.features.schema import Feature, FeatureSchema
from ml_pipeline.serving.app import RequestLimits, ServerProcessState, make_app
from prometheus_client.parser import text_string_to_metric_families

from tests.docker.engine import one_at_a_time
from tests.docker.machine import ci, install, lacking
from tests.serving.conftest import Api

HOW = "apt-get install prometheus   (as root; CI=true does so itself)"


@pytest.fixture(scope="session")
def promtool():
    """Run promtool, and return what it prints; a check that fails is a failure of the test."""
    with one_at_a_time("promtool"):
        if shutil.which("promtool") is None:
            if not ci() or os.geteuid() != 0:
                lacking("promtool", HOW)
            install("prometheus")

    def run(*arguments, folder=None):
        done = subprocess.run(
            ["promtool", *arguments], capture_output=True, text=True, check=False, cwd=folder
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def exposed(tmp_path_factory, write_bundle):
    """Names of the samples that a server exposes, with the names of their labels."""
    schema = FeatureSchema(
        (
            Feature("x", "numeric", (), 0.0, 5.0, missing=0.25),
            Feature("c", "categorical", ("north", "south"), missing=0.0),
        )
    )
    folder = tmp_path_factory.mktemp("exposed") / "bundle"
    bundle = Bundle.open(write_bundle(folder, features=schema.to_json()))
    limits = RequestLimits(max_body=1_000, max_rows=4)
    api = Api(make_app(bundle, 3, limits, ServerProcessState()))
    api.predict([1.0, "north"])
    api.predict(["text", "north"])
    return {
        sample.name: frozenset(sample.labels)
        for family in text_string_to_metric_families(api.get("/metrics").text)
        for sample in family.samples
    }
