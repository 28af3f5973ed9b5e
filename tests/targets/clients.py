"""Clients that send requests while a server is replaced."""

import itertools
import threading
import time

import httpx


class Clients:
    """Threads that send requests continuously, on new connections or on a kept one."""

    def __init__(self, url, *, keep_alive, pause=0.0):
        self.url, self.keep_alive, self.pause = url, keep_alive, pause
        self.versions, self.errors, self.answer_times = [], [], []
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.work) for _ in range(4)]

    def work(self):
        limits = httpx.Limits(max_keepalive_connections=None if self.keep_alive else 0)
        with httpx.Client(limits=limits) as client:
            while not self.over.is_set():
                try:
                    answer = client.post(f"{self.url}/predict", json={"features": [1.0, None]})
                    self.versions.append(answer.raise_for_status().json()["model_version"])
                    self.answer_times.append(time.monotonic())
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
    def longest_gap(self):
        """Longest time between two responses, in seconds."""
        times = sorted(self.answer_times)
        return max(later - earlier for earlier, later in itertools.pairwise(times))
