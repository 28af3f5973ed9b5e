"""``home/released/<digest>``: the copy of a bundle that a server reads."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from pipeline import workdir
from pipeline.bundle.reader import MANIFEST, Bundle
from pipeline.errors import Refused
from pipeline.home import Home


def release(path: Path, home: Home) -> Bundle:
    """Verify a bundle, copy it into the home and return the copy, verified.

    A copy that is there already is used if it is this very bundle and verifies, otherwise it is
    replaced.

    Raises:
        Refused: the bundle does not verify.
    """
    bundle = Bundle.open(path)
    copy = home / "released" / bundle.digest
    if copy.is_symlink():
        copy.unlink()
    elif copy.is_dir():
        with suppress(Refused):
            kept = Bundle.open(copy)
            if kept.digest == bundle.digest:
                return kept
    with workdir.atomic_folder(copy) as folder:
        for name in (MANIFEST, *bundle.manifest["files"]):
            shutil.copyfile(path / name, folder / name)
        if Bundle.open(folder).digest != bundle.digest:
            raise Refused(f"{path} changed while it was copied")
    return Bundle.open(copy)
