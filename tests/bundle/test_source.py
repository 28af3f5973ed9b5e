"""An archive of somebody else's reaches no place but its folder."""

import io
import tarfile

import pytest

from pipeline.bundle import source


@pytest.fixture
def archive(tmp_path):
    def make(entry, content=b""):
        path = tmp_path / "source.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        return path

    return make


def test_files_come_out_as_they_went_in(archive, tmp_path):
    source.unpack(archive(tarfile.TarInfo("own/signals.py"), b"x = 1\n"), tmp_path / "out")
    assert (tmp_path / "out/own/signals.py").read_bytes() == b"x = 1\n"


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "own/../../outside", "a\\..\\b"])
def test_a_path_that_leads_out_is_refused(archive, tmp_path, name):
    with pytest.raises(tarfile.TarError, match="no plain file"):
        source.unpack(archive(tarfile.TarInfo(name), b"x"), tmp_path / "out")
    assert not list(tmp_path.rglob("outside"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(archive, tmp_path, kind):
    entry = tarfile.TarInfo("own")
    entry.type, entry.linkname = kind, "/etc"
    with pytest.raises(tarfile.TarError, match="no plain file"):
        source.unpack(archive(entry), tmp_path / "out")
