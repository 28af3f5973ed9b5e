"""Clients of a server that is replaced meanwhile."""

import itertools
import threading
import time

import httpx


class Clients:
    """Threads that predict all the time, each request on a connection of its own or on one."""

    def __init__(self, url, *, keep_alive, pause=0.0):
        self.url, self.keep_alive, self.pause = url, keep_alive, pause
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
                time.sleep(self.pause)

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
