"""The feature worker process: bounded, killed when it hangs, started again after a crash."""

import asyncio
from pathlib import Path

import pytest
from ml_pipeline.core import landlock
from ml_pipeline.serving import feature_worker_process
from ml_pipeline.serving.feature_messages import ComputedFeatures
from ml_pipeline.serving.feature_worker_process import FeatureWorker, RawRowLimits
from ml_pipeline.serving.request_checks import RequestError

GOOD = ComputedFeatures([[1.5, None]], [0], [])


@pytest.fixture(autouse=True)
def double(monkeypatch):
    monkeypatch.setattr(feature_worker_process, "MODULE", "tests.serving.feature_worker_double")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))


def run(ask, **limits):
    async def with_worker():
        worker = FeatureWorker(Path("bundle"), RawRowLimits(**limits))
        try:
            return await ask(worker)
        finally:
            await worker.close()

    return asyncio.run(with_worker())


async def refused(worker, body):
    with pytest.raises(RequestError) as replies:
        await worker.compute(body)
    return replies.value.status, str(replies.value)


def test_the_worker_is_started_once_and_reused():
    async def ask(worker):
        replies = [await worker.compute(b"a") for _ in range(3)]
        return replies, worker.starts, worker.waiting

    assert run(ask) == ([GOOD] * 3, 1, 0)


def test_an_error_of_the_worker_is_returned_and_it_keeps_running():
    async def ask(worker):
        expected_message = await refused(worker, b"refuse")
        return expected_message, await worker.compute(b"a"), worker.starts

    assert run(ask) == ((422, "row 0: no"), GOOD, 1)


@pytest.mark.parametrize(
    ("body", "expected_message"),
    [
        (b"hang", "the features took over 0.5 s; retry later"),
        (b"crash", "the feature worker failed: it ended with 9; retry later"),
        (b"nonsense", "the feature worker failed: invalid message"),
        (b"large", "the feature worker failed: message of 2147483648 bytes"),
        (b"ready", "the feature worker failed: unexpected message"),
    ],
)
def test_a_broken_worker_is_a_503_and_the_next_request_gets_a_new_one(body, expected_message):
    async def ask(worker):
        await worker.compute(b"a")
        failure = await refused(worker, body)
        worker._limits = RawRowLimits(max_seconds=60)
        return failure, await worker.compute(b"a"), worker.starts

    (status, error), answer, starts = run(ask, max_seconds=0.5)
    assert (status, answer, starts) == (503, GOOD, 2)
    assert error.startswith(expected_message)


def test_a_worker_that_ended_is_started_again():
    async def ask(worker):
        await refused(worker, b"end")
        ended = worker._process
        await ended.wait()
        return await worker.compute(b"a"), worker.starts

    assert run(ask) == (GOOD, 2)


def test_after_a_cancelled_request_the_next_one_gets_its_own_reply():
    async def ask(worker):
        await worker.compute(b"a")
        cancelled = asyncio.create_task(worker.compute(b"wait"))
        await asyncio.sleep(0.05)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        return await refused(worker, b"refuse"), worker.waiting

    assert run(ask) == ((422, "row 0: no"), 0)


def test_a_request_that_waits_too_long_for_the_worker_is_a_503(monkeypatch):
    async def ask(worker):
        await worker.compute(b"a")
        monkeypatch.setattr(feature_worker_process, "START_SECONDS", -60.0)
        async with worker._lock:
            failure = await refused(worker, b"a")
        monkeypatch.setattr(feature_worker_process, "START_SECONDS", 60.0)
        return failure, await worker.compute(b"a")

    expected_message = "raw rows: the requests before this one took too long; retry later"
    assert run(ask) == ((503, expected_message), GOOD)


def test_requests_beyond_the_queue_are_429_at_once():
    async def ask(worker):
        await worker.compute(b"a")
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(worker.compute(b"wait")) for _ in range(2)]
            await asyncio.sleep(0)
            failure = await refused(worker, b"a")
        return failure, [each.result() for each in waiting]

    failure, answers = run(ask, max_queue=2)
    assert failure == (429, "2 requests of raw rows wait already; retry later")
    assert answers == [GOOD, GOOD]


def test_the_worker_does_not_get_the_servers_environment(monkeypatch):
    monkeypatch.setenv("ML_TOKEN", "s3cret")

    async def ask(worker):
        return await refused(worker, b"environment")

    _, names = run(ask)
    assert "ML_TOKEN" not in names.split()
    assert "PATH" in names.split()


@pytest.mark.skipif(not landlock.abi(), reason="this system has no Landlock")
def test_the_worker_may_write_to_its_scratch_folder_only():
    async def ask(worker):
        return await refused(worker, b"write"), Path(worker._scratch.name)

    (_, expected_message), scratch = run(ask)
    assert expected_message == "PermissionError"
    assert not scratch.exists()


def test_a_failed_start_is_a_503_and_not_retried_at_once(monkeypatch):
    monkeypatch.setattr(feature_worker_process, "MODULE", "tests.serving.no_such_worker")

    async def ask(worker):
        return [await refused(worker, b"a") for _ in range(3)], worker.starts

    failures, starts = run(ask)
    assert starts == 1
    assert set(failures) == {(503, "the feature worker does not start: it ended with 1")}


def test_missing_packages_are_a_501(monkeypatch):
    monkeypatch.setattr(feature_worker_process, "REQUIRED_MODULES", ("ml_pipeline.no_such_room",))

    async def ask(worker):
        return await refused(worker, b"a"), worker.starts

    (status, error), starts = run(ask)
    assert (status, starts) == (501, 0)
    assert "send the features to /predict" in error


def test_the_worker_ends_with_the_server():
    async def ask(worker):
        await worker.compute(b"a")
        running = worker._process
        await worker.close()
        return running.returncode

    assert run(ask) == 0
