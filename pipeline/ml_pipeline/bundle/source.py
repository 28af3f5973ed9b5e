"""``source.tar.gz``: the project code that the identity covers, with the configuration it needs.

Its ``ml.yaml`` holds the keys that shape the model and no others: two commits that differ in
documentation, tests or policy give the same archive.
"""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from ml_pipeline.bundle import identity
from ml_pipeline.config import FILE, Project
from ml_pipeline.core.tar_archive import add_bytes

GROUPS = "groups.csv"
MAX_BYTES = 256 << 20
MAX_RATIO = 100
"""Bytes unpacked for each byte of the archive; those of this module hold one for one."""
MAX_FILES = 10_000


def archive(project: Project) -> bytes:
    """Return the archive; the same project gives the same bytes on every machine.

    Raises:
        UsageError: a feature module or the groups file is missing.
    """
    files = {
        path.relative_to(project.root).as_posix(): path.read_bytes()
        for path in identity.source_files(project)
    }
    values = _configuration(project)
    if project.config.data.groups is not None:
        files[GROUPS] = identity.groups_file(project).read_bytes()
        values["data"]["groups"]["path"] = GROUPS
    files[FILE] = yaml.safe_dump(values, sort_keys=True, allow_unicode=True).encode()
    return _packed(files)


def unpack(archive: Path, folder: Path) -> None:
    """Extract an archive's regular files below ``folder``, and nothing anywhere else.

    The filters of ``tarfile`` (PEP 706) would do, but Python 3.11.2, Debian 12's, lacks them. What
    it unpacks to is bounded: in bytes, also beside the archive's own size, and in files.

    Raises:
        tarfile.TarError: it is no archive, unpacks to more than that, or holds a link, a device, a
            file twice or a path that leads out.
        OSError: it cannot be read, or a file cannot be written.
    """
    limit = min(MAX_BYTES, MAX_RATIO * archive.stat().st_size + (1 << 20))
    seen: set[PurePosixPath] = set()
    with (
        gzip.open(archive) as packed,
        tarfile.open(fileobj=_Bounded(packed, limit), mode="r|") as tar,
    ):
        for entry in tar:
            if len(seen) >= MAX_FILES:
                raise tarfile.TarError(f"it holds more than {MAX_FILES:,} files")
            name = PurePosixPath(entry.name)
            if not entry.isreg() or name.is_absolute() or ".." in name.parts or "\\" in entry.name:
                raise tarfile.TarError(f"{entry.name[:80]!r} is no plain file inside the archive")
            if name in seen:
                raise tarfile.TarError(f"{entry.name[:80]!r} is in the archive twice")
            seen.add(name)
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            content = tar.extractfile(entry)
            assert content is not None
            with path.open("wb") as stream:
                shutil.copyfileobj(content, stream)


class _Bounded(io.RawIOBase):
    """A stream that raises an error after a number of bytes."""

    def __init__(self, stream: gzip.GzipFile, limit: int) -> None:
        self._stream, self._limit, self._left = stream, limit, limit

    def read(self, size: int = -1) -> bytes:
        try:
            content = self._stream.read(min(size, 1 << 20) if size >= 0 else 1 << 20)
        except (EOFError, zlib.error) as error:
            raise tarfile.ReadError(f"it is no gzip file: {error}") from None
        self._left -= len(content)
        if self._left < 0:
            raise tarfile.TarError(f"it unpacks to more than {self._limit:,} bytes")
        return content


def _configuration(project: Project) -> dict[str, Any]:
    values = identity.shaping(project)
    values["train"]["seed"] = project.config.train.seed
    if values["data"]["groups"] is not None:
        del values["data"]["groups"]["sha256"]
    return values


def _packed(files: dict[str, bytes]) -> bytes:
    """Return a stored (uncompressed) gzip: what a deflater makes depends on the zlib at hand."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", compresslevel=0, fileobj=packed, mtime=0) as stream,
        tarfile.open(mode="w", fileobj=stream, format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name in sorted(files):
            add_bytes(tar, name, files[name], 0o644)
    return packed.getvalue()
