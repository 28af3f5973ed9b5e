"""The application of a small bundle, called without a socket."""

import asyncio

import httpx
import pytest
from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.serving.app import ServerProcessState


class Api:
    def __init__(self, app):
        self.app = app

    async def send(self, method, path, **options):
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            return await client.request(method, path, **options)

    def request(self, method, path, **options):
        return asyncio.run(self.send(method, path, **options))

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def predict(self, features=None, **options):
        if features is not None:
            options["json"] = {"features": features}
        return self.request("POST", "/predict", **options)


@pytest.fixture
def state():
    return ServerProcessState()


@pytest.fixture
def bundle(make_bundle):
    return Bundle.open(make_bundle())


@pytest.fixture
def slow(bundle, monkeypatch):
    """Make the model slow: it takes ``seconds`` for each call, and can be blocked."""
    import hashlib
    import threading
    import time

    block = bytes(1 << 16)

    class Slow:
        def __init__(self):
            self.seconds = 0.02
            self.free = threading.Event()
            self.free.set()
            self.calls = 0

        def __call__(self, encoded):
            self.calls += 1
            end = time.thread_time() + self.seconds
            while time.thread_time() < end:
                hashlib.sha256(block)  # releases the GIL, as ONNX Runtime does
            self.free.wait(10)
            return quick(encoded)

    quick, slow_model = bundle.predict_list, Slow()
    monkeypatch.setattr(bundle, "predict_list", slow_model)
    return slow_model
