"""Brings the prediction log of servers elsewhere to this machine."""

from __future__ import annotations

import io
import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ml_pipeline.config import ServingSection
from ml_pipeline.core import workdir
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.serving import prediction_log

NAME = re.compile(r"[0-9A-Za-z.-]+" + re.escape(prediction_log.SUFFIX))


def bring(archive: Iterator[bytes], folder: Path, serving: ServingSection) -> None:
    """Copy the files of a prediction log into ``folder``; as many as are kept stay there.

    A file that is there already, and as long, is left alone.

    Args:
        archive: a tar of the log's folder.
        folder: readable by its owner only.
        serving: says how many files are kept.

    Raises:
        EnvironmentFault: the archive or the disk breaks off.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tarfile.open(fileobj=io.BufferedReader(_Stream(archive)), mode="r|") as content:
            for entry in content:
                _take(content, entry, folder)
        for old in prediction_log.files(folder)[: -serving.prediction_log.keep]:
            old.unlink(missing_ok=True)
    except (OSError, tarfile.TarError) as error:
        raise EnvironmentFault(
            f"the prediction log cannot be copied to {folder}: {error}"
        ) from error


def _take(content: tarfile.TarFile, entry: tarfile.TarInfo, folder: Path) -> None:
    name = entry.name.rpartition("/")[2]
    source = content.extractfile(entry) if entry.isreg() and NAME.fullmatch(name) else None
    if source is None:
        return
    path = folder / name
    if path.exists() and path.stat().st_size == entry.size:
        return
    with workdir.atomic_path(path) as temporary:
        with temporary.open("wb") as sink:
            shutil.copyfileobj(source, sink)
        os.utime(temporary, (entry.mtime, entry.mtime))
    path.chmod(0o600)


class _Stream(io.RawIOBase):
    """What an iterator yields, as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._left = memoryview(chunk)
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count
