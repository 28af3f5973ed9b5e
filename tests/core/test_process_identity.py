"""A process is identified by its pid and start time."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil
from ml_pipeline.core import process_identity


def test_a_running_process_is_found_by_its_start() -> None:
    started = process_identity.start_of(os.getpid())
    found = process_identity.running(os.getpid(), started)
    assert found is not None
    assert found.pid == os.getpid()


def test_another_start_is_another_process() -> None:
    started = process_identity.start_of(os.getpid())
    assert process_identity.running(os.getpid(), started + "0") is None


def test_a_zombie_counts_as_ended() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    try:
        started = process_identity.start_of(process.pid)
        assert process_identity.running(process.pid, started) is not None
        process.kill()
        deadline = time.monotonic() + 60
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert process_identity.running(process.pid, started) is None
    finally:
        process.kill()
        process.communicate()
    assert process_identity.running(process.pid, started) is None


def test_the_record_of_an_earlier_version_names_the_same_process() -> None:
    created = psutil.Process().create_time()
    record = process_identity.with_start({"pid": os.getpid(), "created": created})
    assert set(record) == {"pid", "started"}
    assert process_identity.running(os.getpid(), record["started"]) is not None
    later = process_identity.with_start({"pid": os.getpid(), "created": created + 60})
    assert process_identity.running(os.getpid(), later["started"]) is None


def test_a_record_in_the_present_form_is_unchanged() -> None:
    record = {"pid": 7, "started": "boot a ticks 1"}
    assert process_identity.with_start(record) == record
