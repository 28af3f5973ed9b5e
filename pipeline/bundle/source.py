"""``source.tar.gz``: the project code that the identity covers, with the configuration it needs.

Its ``ml.yaml`` holds the keys that shape the model and no others: two commits that differ in
documentation, tests or policy give the same archive.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from pipeline.bundle import identity
from pipeline.config import FILE, Project

GROUPS = "groups.csv"


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
    """Write an archive's plain files below ``folder``, and nothing anywhere else.

    The filters of ``tarfile`` (PEP 706) would do, but Python 3.11.2, Debian 12's, lacks them.

    Raises:
        tarfile.TarError: it is no archive, or holds a link, a device or a path that leads out.
        OSError: it cannot be read, or a file cannot be written.
    """
    with tarfile.open(archive, "r:gz") as tar:
        for entry in tar:
            name = PurePosixPath(entry.name)
            if not entry.isreg() or name.is_absolute() or ".." in name.parts or "\\" in entry.name:
                raise tarfile.TarError(f"{entry.name!r} is no plain file inside the archive")
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            content = tar.extractfile(entry)
            assert content is not None
            path.write_bytes(content.read())


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
            entry = tarfile.TarInfo(name)
            entry.size = len(files[name])
            entry.mode = 0o644
            tar.addfile(entry, io.BytesIO(files[name]))
    return packed.getvalue()
