"""Copies the prediction log of servers on another machine to this one."""

from __future__ import annotations

import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

from ml_pipeline.config import ServingSection
from ml_pipeline.core import workdir
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.tar_archive import open_stream
from ml_pipeline.serving import prediction_log, removed_files

NAME = re.compile(r"[0-9A-Za-z.-]+" + re.escape(prediction_log.SUFFIX))


def copy_log(archive: Iterator[bytes], folder: Path, serving: ServingSection) -> None:
    """Copy the files of a prediction log into ``folder``, and remove the oldest beyond the limit.

    A file that exists with the same size is not copied again.

    Args:
        archive: a tar of the log's folder.
        folder: created if necessary, readable by its owner only.
        serving: has the number of files to keep.

    Raises:
        EnvironmentFault: the archive is incomplete, or a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open_stream(archive) as content:
            for entry in content:
                _copy_entry(content, entry, folder)
        for old in prediction_log.files(folder)[: -serving.prediction_log.keep]:
            removed_files.remove(old)
    except (OSError, tarfile.TarError) as error:
        raise EnvironmentFault(
            f"the prediction log cannot be copied to {folder}: {error}"
        ) from error


def _copy_entry(content: tarfile.TarFile, entry: tarfile.TarInfo, folder: Path) -> None:
    name = entry.name.rpartition("/")[2]
    source = content.extractfile(entry) if entry.isreg() and NAME.fullmatch(name) else None
    if source is None:
        return
    path = folder / name
    if path.exists() and path.stat().st_size == entry.size:
        return
    with workdir.atomic_path(path) as temporary:
        with temporary.open("wb") as target:
            shutil.copyfileobj(source, target)
        os.utime(temporary, (entry.mtime, entry.mtime))
    path.chmod(0o600)
