"""An untrusted archive is unpacked only into its folder."""

import io
import tarfile

import pytest
from ml_pipeline.bundle import source


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


class TestWhatUnpacksToMore:
    """Archives of a few kilobytes that would fill a disk."""

    @staticmethod
    def packed(path, entries, **options):
        with tarfile.open(path, "w:gz", **options) as tar:
            for name, content in entries:
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
        return path

    def test_zeros_without_end(self, tmp_path):
        path = self.packed(tmp_path / "a.tar.gz", [("own.py", b"\0" * (32 << 20))])
        with pytest.raises(tarfile.TarError, match="unpacks to more than"):
            source.unpack(path, tmp_path / "out")
        assert sum(item.stat().st_size for item in (tmp_path / "out").rglob("*")) < 8 << 20

    def test_many_files_that_are_small_each(self, tmp_path, monkeypatch):
        monkeypatch.setattr(source, "MAX_FILES", 10)
        path = self.packed(tmp_path / "a.tar.gz", [(f"own{n}.py", b"") for n in range(11)])
        with pytest.raises(tarfile.TarError, match="more than 10 files"):
            source.unpack(path, tmp_path / "out")

    def test_a_head_that_is_large_itself(self, tmp_path):
        path = self.packed(
            tmp_path / "a.tar.gz",
            [("own.py", b"x")],
            format=tarfile.PAX_FORMAT,
            pax_headers={"comment": "x" * (32 << 20)},
        )
        with pytest.raises(tarfile.TarError, match="unpacks to more than"):
            source.unpack(path, tmp_path / "out")

    def test_bytes_in_all(self, tmp_path, monkeypatch):
        monkeypatch.setattr(source, "MAX_BYTES", 1000)
        path = self.packed(tmp_path / "a.tar.gz", [("own.py", b"x" * 100_000)], compresslevel=0)
        with pytest.raises(tarfile.TarError, match="more than 1,000 bytes"):
            source.unpack(path, tmp_path / "out")

    def test_a_file_twice(self, tmp_path):
        path = self.packed(tmp_path / "a.tar.gz", [("own.py", b"1"), ("own.py", b"2")])
        with pytest.raises(tarfile.TarError, match="in the archive twice"):
            source.unpack(path, tmp_path / "out")

    @pytest.mark.parametrize("cut", [0, 5, 40])
    def test_what_is_cut(self, tmp_path, cut):
        path = self.packed(tmp_path / "a.tar.gz", [("own.py", bytes(range(256)) * 50)])
        path.write_bytes(path.read_bytes()[:cut])
        with pytest.raises((tarfile.TarError, OSError)):
            source.unpack(path, tmp_path / "out")
