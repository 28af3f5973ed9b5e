"""Every request is counted once, whatever happens to servers, files, clocks and the reader."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from ml_pipeline.config import PredictionLogSection, ServingSection
from ml_pipeline.monitoring import archived_log, log_lines
from ml_pipeline.monitoring.forgotten_rows import (
    Entity,
    Removed,
    forget_in_archive,
    forget_in_log,
)
from ml_pipeline.monitoring.served_rows import Cursor, read_since
from ml_pipeline.serving import prediction_log, removed_files
from ml_pipeline.serving.prediction_log import LoggedModel, Rotation
from ml_pipeline.targets.copy_prediction_log import copy_log

SERVERS = 3
"""The last one is on another machine: its files are copied."""
KEEP = 3
MAX_BYTES = 400


class World:
    """Servers of an environment, and a monitor that is killed now and then."""

    def __init__(self, root: Path) -> None:
        self.local, self.remote = root / "local", root / "remote"
        self.local.mkdir()
        self.remote.mkdir()
        self.now = datetime(2026, 5, 12, tzinfo=UTC)
        self.number = 0
        self.file_of: dict[str, str] = {}
        self.forgotten: set[str] = set()
        self.logs = [self._server(place) for place in range(SERVERS)]
        self.stored = json.dumps({"cursor": Cursor().model_dump(), "counted": {}, "gaps": []})
        """The one file in which the monitor stores the cursor and what it counted."""

    def _server(self, place: int) -> prediction_log._RotatedFiles:
        folder = self.remote if place == SERVERS - 1 else self.local
        model = LoggedModel("churn", place % 2, "d" * 64, ["x"])
        return prediction_log._RotatedFiles(Rotation(folder, MAX_BYTES, KEEP), model)

    def _files(self) -> set[str]:
        return {path.stem for path in (*self.local.iterdir(), *self.remote.iterdir())}

    def forget(self, number: int) -> None:
        """Remove the rows of an entity, here those of one request."""
        entity, removed = Entity("x", str(number), None), Removed()
        for path in prediction_log.files(self.local):
            forget_in_log(path, entity, removed)
        for path in archived_log.files(self.local):
            forget_in_archive(path, entity, removed)
        self.forgotten |= {name for name, _, _ in removed.ids}

    # --- what happens -------------------------------------------------------------------------

    def serve(self, place: int, count: int) -> None:
        for _ in range(count):
            self.number += 1
            name = f"id-{self.number}"
            line = {"request_id": name, "time": self.now.timestamp(), "model_version": 1}
            line |= {"features": [[self.number]], "probability": [0.5]}
            log = self.logs[place]
            log.write(json.dumps(line).encode() + b"\n")
            self.file_of[name] = Path(f"/proc/self/fd/{log._file}").resolve().stem

    def kill(self, place: int) -> None:
        """Kill a server in the middle of a line."""
        log = self.logs[place]
        if log._file is not None and log._size < MAX_BYTES - 10:
            log._append(b'{"request')
        log.finish()
        self.logs[place] = self._server(place)

    def set_clock(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    def copy(self) -> None:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            archive.add(self.remote, "predictions")
        keep = ServingSection(prediction_log=PredictionLogSection(keep=100))
        copy_log(iter([stream.getvalue()]), self.local, keep)

    def archive_oldest(self) -> None:
        """Archive a file that no server writes, as teams do."""
        written = {self.file_of[f"id-{self.number}"]} if self.number else set()
        written |= {
            Path(f"/proc/self/fd/{log._file}").resolve().stem
            for log in self.logs
            if log._file is not None
        }
        for path in prediction_log.files(self.local)[:1]:
            whole = path.read_bytes()
            if path.stem not in written and whole.endswith(b"\n") and whole.count(b"\n") > 1:
                archived_log.write(path)
                path.unlink()

    def look(self, killed_after: int | None) -> None:
        """Look at the log; the monitor is killed before it stores batch ``killed_after``."""
        state = json.loads(self.stored)
        cursor = Cursor.model_validate(state["cursor"])
        for place, batch in enumerate(read_since(self.local, cursor, rows=2)):
            if place == killed_after:
                return
            counted = Counter(state["counted"])
            if batch.served is not None:
                counted.update(batch.served.request_ids)
            state["gaps"] += [gap.file for gap in batch.gaps]
            state |= {"counted": counted, "cursor": batch.cursor.model_dump()}
            self.stored = json.dumps(state)


actions = st.one_of(
    st.tuples(st.just("serve"), st.integers(0, SERVERS - 1), st.integers(1, 8)),
    st.tuples(st.just("kill"), st.integers(0, SERVERS - 1)),
    st.tuples(st.just("set_clock"), st.integers(-48, 48)),
    st.tuples(st.just("copy")),
    st.tuples(st.just("forget"), st.integers(1, 20)),
    st.tuples(st.just("archive_oldest")),
    st.tuples(st.just("look"), st.none() | st.integers(0, 3)),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(actions, max_size=40))
def test_each_request_is_counted_once_or_its_file_is_a_gap(happenings):
    with TemporaryDirectory() as root, mock.patch.object(prediction_log, "datetime") as clock:
        world = World(Path(root))
        clock.now = lambda _: world.now
        clock.strptime = datetime.strptime
        with mock.patch.object(log_lines, "BLOCK_BYTES", 300):
            world.look(None)
            for name, *values in happenings:
                getattr(world, name)(*values)
            world.copy()
            world.look(None)
        for log in world.logs:
            log.finish()
        left = b"".join(path.read_bytes() for path in prediction_log.files(world.local))
        assert not [name for name in world.forgotten if f'"{name}"'.encode() in left]
        state = json.loads(world.stored)
        gaps = {Path(name).stem for name in state["gaps"]}
        assert set(state["counted"].values()) <= {1}
        uncounted = world.file_of.keys() - state["counted"].keys() - world.forgotten
        missed = {world.file_of[name] for name in uncounted}
        assert missed <= gaps, "nothing is missed without a word"
        removed = {
            Path(one.file).stem
            for folder in (world.local, world.remote)
            for one in removed_files.removed_files(folder)
        }
        assert gaps <= removed, "and no gap is reported that is none"
        assert len(state["gaps"]) == len(gaps), "each once"
