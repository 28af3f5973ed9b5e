"""Copies the prediction log of servers on another machine to this one."""

from __future__ import annotations

import os
import re
import shutil
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ml_pipeline.config import ServingSection
from ml_pipeline.core import locks, workdir
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.tar_archive import open_stream
from ml_pipeline.serving import log_retention, prediction_log, removed_files
from ml_pipeline.targets import server_arguments

MAX_LIST_BYTES = 4 << 20
NAME = re.compile(r"[0-9A-Za-z.-]+" + re.escape(prediction_log.SUFFIX))


def copy_log(
    archive: Iterator[bytes], folder: Path, serving: ServingSection, *, servers: int = 1
) -> None:
    """Copy the files of a prediction log into ``folder``, and remove those beyond the limits.

    Of a file that grew only the new part is copied: the former part stays as it is here, so that
    what ``ml-pipeline forget`` removed from it does not come back. The list of files that were
    removed there is added to the list here.

    Args:
        archive: a tar of the log's folder.
        folder: created if necessary, readable by its owner only.
        serving: has the limits.
        servers: with logs of their own that are copied into the folder; each may have ``keep``
            files and ``total_bytes``.

    Raises:
        EnvironmentFault: the archive is incomplete, or a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locks.locked(lock_path(folder)), open_stream(archive) as content:
            for entry in content:
                _copy_entry(content, entry, folder)
            retention = server_arguments.retention(serving, servers)
            log_retention.remove_expired(prediction_log.files(folder), retention, now=time.time())
    except (OSError, tarfile.TarError) as error:
        raise EnvironmentFault(
            f"the prediction log cannot be copied to {folder}: {error}"
        ) from error


def lock_path(folder: Path) -> Path:
    """Return the lock file of those that replace files of a prediction log on this machine."""
    return folder.with_name(f".{folder.name}.lock")


def _copy_entry(content: tarfile.TarFile, entry: tarfile.TarInfo, folder: Path) -> None:
    name = entry.name.rpartition("/")[2]
    source = content.extractfile(entry) if entry.isreg() else None
    if source is None:
        return
    if name == removed_files.NAME and entry.size <= MAX_LIST_BYTES:
        removed_files.add(folder, removed_files.parse(source.read().decode(errors="replace")))
    if not NAME.fullmatch(name):
        return
    path = folder / name
    size = path.stat().st_size if path.exists() else 0
    if path.exists() and size >= entry.size:
        return
    with workdir.atomic_path(path) as temporary:
        with temporary.open("wb") as target:
            if size:
                with path.open("rb") as former:
                    shutil.copyfileobj(former, target)
                _skip(source, size)
            shutil.copyfileobj(source, target)
        os.utime(temporary, (entry.mtime, entry.mtime))
    path.chmod(0o600)


def _skip(stream: IO[bytes], count: int) -> None:
    """Read over ``count`` bytes of a stream that cannot seek."""
    while count and (content := stream.read(min(count, 1 << 20))):
        count -= len(content)
