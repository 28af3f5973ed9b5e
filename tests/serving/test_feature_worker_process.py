"""The worker process of raw rows: bounded, ended when it hangs, started again when it crashed."""

import asyncio
from pathlib import Path

import pytest
from ml_pipeline.core import landlock
from ml_pipeline.serving import feature_worker_process
from ml_pipeline.serving.feature_messages import Features
from ml_pipeline.serving.feature_worker_process import FeatureProcess, RawLimits
from ml_pipeline.serving.requests import RequestError

GOOD = Features([[1.5, None]], [0], [])


@pytest.fixture(autouse=True)
def double(monkeypatch):
    monkeypatch.setattr(feature_worker_process, "MODULE", "tests.serving.feature_worker_double")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))


def run(ask, **limits):
    async def all_of_it():
        process = FeatureProcess(Path("bundle"), RawLimits(**limits))
        try:
            return await ask(process)
        finally:
            await process.close()

    return asyncio.run(all_of_it())


async def refused(process, body):
    with pytest.raises(RequestError) as found:
        await process.compute(body)
    return found.value.status, str(found.value)


def test_it_is_started_once_and_answers_in_turn():
    async def ask(process):
        found = [await process.compute(b"a") for _ in range(3)]
        return found, process.starts, process.waiting

    assert run(ask) == ([GOOD] * 3, 1, 0)


def test_what_the_worker_refuses_is_refused_and_it_goes_on():
    async def ask(process):
        told = await refused(process, b"refuse")
        return told, await process.compute(b"a"), process.starts

    assert run(ask) == ((422, "row 0: no"), GOOD, 1)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"hang", "the features took over 0.5 s; ask again later"),
        (b"crash", "the feature worker failed: it ended with 9; ask again later"),
        (b"nonsense", "the feature worker failed: it answers with no message"),
        (b"large", "the feature worker failed: it answers with 2147483648 bytes"),
        (b"ready", "the feature worker failed: it answers out of turn"),
    ],
)
def test_what_breaks_it_is_a_503_and_the_next_request_has_a_new_one(body, told):
    async def ask(process):
        await process.compute(b"a")
        failure = await refused(process, body)
        process._limits = RawLimits(max_seconds=60)
        return failure, await process.compute(b"a"), process.starts

    (status, error), answer, starts = run(ask, max_seconds=0.5)
    assert (status, answer, starts) == (503, GOOD, 2)
    assert error.startswith(told)


def test_one_that_ended_by_itself_is_started_again():
    async def ask(process):
        await refused(process, b"end")
        ended = process._process
        await ended.wait()
        return await process.compute(b"a"), process.starts

    assert run(ask) == (GOOD, 2)


def test_after_a_request_that_was_cancelled_the_next_one_gets_its_own_answer():
    async def ask(process):
        await process.compute(b"a")
        cancelled = asyncio.create_task(process.compute(b"wait"))
        await asyncio.sleep(0.05)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        return await refused(process, b"refuse"), process.waiting

    assert run(ask) == ((422, "row 0: no"), 0)


def test_a_request_whose_turn_does_not_come_is_a_503_and_the_one_before_it_is_answered(monkeypatch):
    async def ask(process):
        await process.compute(b"a")
        monkeypatch.setattr(feature_worker_process, "START_SECONDS", -60.0)
        async with process._turn:
            failure = await refused(process, b"a")
        monkeypatch.setattr(feature_worker_process, "START_SECONDS", 60.0)
        return failure, await process.compute(b"a")

    told = "no turn for raw rows in time; ask again later"
    assert run(ask) == ((503, told), GOOD)


def test_beyond_the_queue_it_is_a_429_at_once():
    async def ask(process):
        await process.compute(b"a")
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(process.compute(b"wait")) for _ in range(2)]
            await asyncio.sleep(0)
            failure = await refused(process, b"a")
        return failure, [each.result() for each in waiting]

    failure, answers = run(ask, max_queue=2)
    assert failure == (429, "2 requests of raw rows wait already; ask again later")
    assert answers == [GOOD, GOOD]


def test_it_gets_nothing_of_the_servers_environment(monkeypatch):
    monkeypatch.setenv("ML_TOKEN", "s3cret")

    async def ask(process):
        return await refused(process, b"environment")

    _, names = run(ask)
    assert "ML_TOKEN" not in names.split()
    assert "PATH" in names.split()


@pytest.mark.skipif(not landlock.abi(), reason="this system has no Landlock")
def test_it_may_write_in_a_folder_of_its_own_only():
    async def ask(process):
        return await refused(process, b"write"), Path(process._scratch.name)

    (_, told), scratch = run(ask)
    assert told == "PermissionError"
    assert not scratch.exists()


def test_one_that_does_not_start_is_a_503_and_not_tried_at_once_again(monkeypatch):
    monkeypatch.setattr(feature_worker_process, "MODULE", "tests.serving.no_such_worker")

    async def ask(process):
        return [await refused(process, b"a") for _ in range(3)], process.starts

    failures, starts = run(ask)
    assert starts == 1
    assert set(failures) == {(503, "the feature worker does not start: it ended with 1")}


def test_an_environment_without_the_packages_is_a_501(monkeypatch):
    monkeypatch.setattr(feature_worker_process, "NEEDED", ("ml_pipeline.no_such_room",))

    async def ask(process):
        return await refused(process, b"a"), process.starts

    (status, error), starts = run(ask)
    assert (status, starts) == (501, 0)
    assert "send the features to /predict" in error


def test_it_ends_with_the_server():
    async def ask(process):
        await process.compute(b"a")
        running = process._process
        await process.close()
        return running.returncode

    assert run(ask) == 0
