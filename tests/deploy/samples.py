"""What the tests of deployed servers ask and spoil."""

import contextlib
import hashlib
import itertools
import json
import threading
import time

import httpx


def served_version(url):
    response = httpx.post(f"{url}/predict", json={"features": [1.0, "north"]}, timeout=10)
    return response.raise_for_status().json()["model_version"]


def await_answer(url, seconds=30):
    """Wait until GET ``url`` is 200."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url).status_code == httpx.codes.OK:
                return
        time.sleep(0.1)
    raise AssertionError(f"{url} did not answer within {seconds} s")


def falsify_golden(bundle):
    """Move a golden probability, so that the bundle is whole and the model is wrong."""
    golden = json.loads((bundle / "golden.json").read_text())
    golden["probabilities"][0] += 0.01
    content = json.dumps(golden).encode()
    (bundle / "golden.json").write_bytes(content)
    manifest = json.loads((bundle / "manifest.json").read_text())
    entry = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    manifest["files"]["golden.json"] = entry
    (bundle / "manifest.json").write_text(json.dumps(manifest))


class Clients:
    """Threads that predict all the time, each request on a connection of its own or on one."""

    def __init__(self, url, *, keep_alive):
        self.url, self.keep_alive = url, keep_alive
        self.versions, self.errors, self.answered = [], [], []
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.work) for _ in range(4)]

    def work(self):
        limits = httpx.Limits(max_keepalive_connections=None if self.keep_alive else 0)
        with httpx.Client(limits=limits) as client:
            while not self.over.is_set():
                try:
                    answer = client.post(f"{self.url}/predict", json={"features": [1.0, None]})
                    self.versions.append(answer.raise_for_status().json()["model_version"])
                    self.answered.append(time.monotonic())
                except httpx.HTTPError as error:
                    self.errors.append(error)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exception):
        self.over.set()
        for thread in self.threads:
            thread.join()

    @property
    def longest_silence(self):
        """Seconds in which no request was answered."""
        times = sorted(self.answered)
        return max(later - earlier for earlier, later in itertools.pairwise(times))
