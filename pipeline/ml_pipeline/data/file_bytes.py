"""The content of a text file, decompressed and as UTF-8; other file formats are refused."""

from __future__ import annotations

import bz2
import codecs
import gzip
import html
import io
import lzma
import re
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.whitespace import BLANKS

COMPRESSED: Mapping[str, bytes] = {
    ".gz": b"\x1f\x8b",
    ".bz2": b"BZh",
    ".xz": b"\xfd7zXZ\x00",
    ".zst": b"\x28\xb5\x2f\xfd",
    ".zip": b"PK",
}
"""Suffixes of compressed files, with their magic bytes."""

STREAMS: Mapping[str, Callable[[Any], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
EXCEL = "an Excel workbook"
SAVE_AS_CSV = (
    "save its sheet as CSV UTF-8 (in Excel: Save As), with identifiers formatted as text so that "
    "none is rounded, and set the path to that file"
)
WORKBOOK, SHEET, MAX_SHEETS = "xl/workbook.xml", re.compile(r'<sheet [^>]*?name="([^"]*)"'), 10
OTHER_KINDS: tuple[tuple[bytes, str, str], ...] = (
    (b"PAR1", "a Parquet file", "set kind: parquet beside its path"),
    (b"\xd0\xcf\x11\xe0", EXCEL, SAVE_AS_CSV),
    (b"ARROW1", "an Arrow file", "write it as Parquet or CSV"),
    (b"FEA1", "a Feather file", "write it as Parquet or CSV"),
    (b"SQLite format 3", "a SQLite database", "set kind: sql with url: sqlite:///PATH"),
    (b"%PDF", "a PDF file", "export the table as CSV"),
    (b"\x89HDF", "an HDF5 file", "write it as Parquet or CSV"),
    (b"\x80\x04", "a pickle", "write it as Parquet or CSV"),
    (b"\x80\x05", "a pickle", "write it as Parquet or CSV"),
)
OTHER_TEXTS: tuple[tuple[re.Pattern[bytes], str, str], ...] = (
    (
        re.compile(rb"\s*<(!doctype|html|\?xml)", re.IGNORECASE),
        "a web page or XML",
        "download the data itself",
    ),
    (re.compile(rb"\s*(\{\s*\"|\[\s*[\[{])"), "JSON", "write it as Parquet or CSV"),
    (re.compile(rb"version https://git-lfs"), "a Git LFS pointer", "run 'git lfs pull'"),
)
BYTE_ORDER_MARKS: tuple[tuple[bytes, str], ...] = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
MEGABYTE = 1_000_000
CHUNK_BYTES = 1 << 20
MAX_MEGABYTES, MAX_RATIO, RATIO_FREE_MEGABYTES = 4096, 200, 64
GUESSED_ENCODINGS = ("cp1252", "latin-1")
MULTIBYTE = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf](?![\x80-\xbf])|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
)
"""A non-ASCII character of UTF-8; such bytes hardly occur in text of another encoding."""
SINGLE_BYTE = re.compile(r"(iso8859|cp125|cp437|cp85|mac|latin|koi8)")


@dataclass(frozen=True)
class Limit:
    """The largest decompressed size of a file.

    Attributes:
        megabytes: the limit; None for ``MAX_MEGABYTES`` and, above ``RATIO_FREE_MEGABYTES``, at
            most ``MAX_RATIO`` times the compressed size.
        packed: the compressed size in bytes.
    """

    megabytes: int | None
    packed: int

    def check(self, path: Path, size: int) -> None:
        """Raise UsageError where ``size`` bytes exceed the limit."""
        most = (self.megabytes or MAX_MEGABYTES) * MEGABYTE
        times = size / max(self.packed, 1)
        exceeds_ratio = self.megabytes is None and size > RATIO_FREE_MEGABYTES * MEGABYTE
        if size <= most and not (exceeds_ratio and times > MAX_RATIO):
            return
        unpacked = (
            f"more than {size // MEGABYTE:,} MB, {times:,.0f} times its {self.packed:,} bytes"
        )
        allowed = f"at most {most // MEGABYTE:,} MB"
        if self.megabytes is None:
            allowed += f", and at most {MAX_RATIO} times beyond {RATIO_FREE_MEGABYTES} MB"
        raise UsageError(
            f"{path} unpacks to {unpacked}",
            expected=allowed,
            hint="if that size is right, set data.source.max_unpacked_mb to it; otherwise check "
            "where the file comes from",
        )


def read_text(path: Path, encoding: str | None = None, max_unpacked_mb: int | None = None) -> bytes:
    """Return a text file as UTF-8 with line feeds: unpacked, decoded, without byte order mark.

    The format is detected by the first bytes; a suffix of a compressed file must agree with them.

    Args:
        path: plain, or compressed as .gz, .bz2, .xz, .zst or .zip (with one member).
        encoding: of the text; None for UTF-8 or the encoding of its byte order mark.
        max_unpacked_mb: largest decompressed size; see :class:`Limit`.

    Raises:
        UsageError: it cannot be read, is damaged, unpacks to too much, has another file format,
            or is not text in this encoding.
    """
    try:
        packed = _read_regular_file(path)
        content = _decompressed(path, packed, Limit(max_unpacked_mb, len(packed)))
    except (
        OSError,
        EOFError,
        ValueError,
        RuntimeError,
        zlib.error,
        lzma.LZMAError,
        zipfile.BadZipFile,
    ) as error:
        raise unreadable(path, error) from None
    _refuse_other_kinds(path, content)
    text = _as_utf8(path, content, encoding)
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    _refuse_control_characters(path, text)
    return text


def _read_regular_file(path: Path) -> bytes:
    """Return the bytes of a regular file; reading a pipe could block forever."""
    if path.is_dir():
        raise UsageError(f"{path} is a directory", expected="one CSV file")
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is not a regular file", expected="a CSV file")
    before = path.stat()
    content = path.read_bytes()
    after = path.stat()
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise UsageError(
            f"{path} was written while it was read",
            expected="a complete file",
            hint="write it under another name and rename it when complete; then run this again",
        )
    return content


def unreadable(path: Path, error: Exception) -> UsageError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    truncated = isinstance(error, EOFError | zlib.error | lzma.LZMAError)
    return UsageError(
        f"cannot read {path}: {reason or type(error).__name__}",
        hint="it is truncated or damaged: fetch it again" if truncated else "",
    )


def _decompressed(path: Path, content: bytes, limit: Limit) -> bytes:
    suffix = path.suffix.lower()
    detected = next((end for end, start in COMPRESSED.items() if content.startswith(start)), None)
    if suffix in COMPRESSED and detected != suffix:
        raise UsageError(
            f"cannot read {path}: its content is not {suffix}",
            hint="rename it to match its content, or fetch it again",
        )
    if content.startswith(b"PK") and b"[Content_Types].xml" in content[:4096]:
        detected = ".zip"
    if detected is None:
        return content
    if detected == ".zip":
        return _only_member(path, content, limit)
    if detected == ".zst":
        return _zstandard(path, content, limit)
    return _read_stream(path, STREAMS[detected](io.BytesIO(content)), limit)


def _read_stream(path: Path, stream: Any, limit: Limit) -> bytes:
    """Read a stream in chunks, so that no more than the limit is in memory."""
    chunks, size = [], 0
    with stream:
        while chunk := stream.read(CHUNK_BYTES):
            size += len(chunk)
            limit.check(path, size)
            chunks.append(bytes(chunk))
    return b"".join(chunks)


def _zstandard(path: Path, content: bytes, limit: Limit) -> bytes:
    import pyarrow as pa

    try:
        return _read_stream(path, pa.CompressedInputStream(pa.BufferReader(content), "zstd"), limit)
    except OSError as error:
        raise EOFError(str(error)) from None


def _only_member(path: Path, content: bytes, limit: Limit) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [item.filename for item in archive.infolist() if not item.is_dir()]
        if "[Content_Types].xml" in names:
            raise _other_kind(path, f"{EXCEL}{_sheets(path, archive, limit)}", SAVE_AS_CSV)
        if "mimetype" in names:
            raise _other_kind(path, "an OpenDocument file", SAVE_AS_CSV)
        members = [name for name in names if not name.startswith(("__MACOSX/", "."))]
        if len(members) != 1:
            shown = ", ".join(members[:5]) or "none"
            raise UsageError(
                f"{path} holds {len(members)} files ({shown})",
                expected="one CSV file in a .zip",
                hint="unpack it, and set the path to the file",
            )
        return _read_stream(path, archive.open(members[0]), limit)


def _sheets(path: Path, archive: zipfile.ZipFile, limit: Limit) -> str:
    """Return the sheet names of a workbook, for a message."""
    if WORKBOOK not in archive.namelist():
        return ""
    listed = _read_stream(path, archive.open(WORKBOOK), limit).decode(errors="replace")
    names = [html.unescape(name) for name in SHEET.findall(listed)[:MAX_SHEETS]]
    if len(names) == 1:
        return f" with the sheet {names[0]!r}"
    return f" with the sheets {', '.join(map(repr, names))}" if names else ""


def _refuse_other_kinds(path: Path, content: bytes) -> None:
    for start, kind, hint in OTHER_KINDS:
        if content.startswith(start):
            raise _other_kind(path, kind, hint)
    for pattern, kind, hint in OTHER_TEXTS:
        if pattern.match(content[:512]):
            raise _other_kind(path, kind, hint)
    if content[257:262] == b"ustar":
        raise _other_kind(path, "a tar archive", "unpack it, and set the path to the file")


def _other_kind(path: Path, kind: str, hint: str) -> UsageError:
    return UsageError(f"{path} is {kind}", expected="CSV", hint=hint)


def _as_utf8(path: Path, content: bytes, encoding: str | None) -> bytes:
    detected = next((name for mark, name in BYTE_ORDER_MARKS if content.startswith(mark)), None)
    configured = None if encoding is None else codecs.lookup(encoding).name
    if detected is not None and configured is not None:
        family = detected.replace("-", "")
        if not configured.replace("-", "").replace("_", "").startswith(family):
            raise UsageError(
                f"{path} starts with the byte order mark of {detected}",
                expected=f"encoding {encoding}",
                hint="leave encoding out beside its path",
            )
    chosen = encoding or detected or "utf-8"
    name = codecs.lookup(chosen).name
    if name in ("utf-8", "utf-8-sig"):
        plain = content.removeprefix(codecs.BOM_UTF8)
        if not plain.isascii():
            _decode(path, plain, "utf-8")
        _refuse_wide_text(path, plain)
        return plain
    if SINGLE_BYTE.match(name) and not content.isascii():
        _refuse_utf8(path, content, chosen)
    return _decode(path, content, chosen).removeprefix("\ufeff").encode()


def _decode(path: Path, content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeError as error:
        start = getattr(error, "start", 0)
        raise _undecodable(path, content, start, encoding) from None


def _undecodable(path: Path, content: bytes, start: int, encoding: str) -> UsageError:
    named = "UTF-8" if encoding == "utf-8" else encoding
    line = content.count(b"\n", 0, start) + 1
    hint = f"set encoding beside its path to that of the file, not {named}"
    if encoding == "utf-8" and (right := MULTIBYTE.search(content)):
        other = content.count(b"\n", 0, right.start()) + 1
        hint = (
            f"it mixes encodings (line {other} is UTF-8): no encoding reads both, write line "
            f"{line} as UTF-8 too"
        )
    elif encoding == "utf-8":
        begin = max(content.rfind(b"\n", 0, start) + 1, start - 20)
        around = content[begin : start + 20].split(b"\n")[0]
        for guess in GUESSED_ENCODINGS:
            try:
                shown = around.decode(guess).strip()
            except UnicodeDecodeError:
                continue
            hint = f"set encoding: {guess} beside its path, if '{shown}' is right; or write UTF-8"
            break
    return UsageError(
        f"{path} is not {named} text: byte 0x{content[start]:02x} in line {line} cannot be decoded",
        hint=hint,
    )


def _refuse_utf8(path: Path, content: bytes, encoding: str) -> None:
    """Refuse to decode UTF-8 as a single-byte encoding, which never fails and garbles accents."""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return
    raise UsageError(
        f"{path} is UTF-8 text", expected=f"encoding {encoding}", hint="leave encoding out"
    )


def _refuse_control_characters(path: Path, text: bytes) -> None:
    """Refuse a file with control or unassigned characters in its first line."""
    line = text[: text.find(b"\n") if b"\n" in text else len(text)].decode()
    odd = {
        character
        for character in line[:10_000].strip(BLANKS)
        if character not in "\t\x1c\x1d\x1e\x1f"
        and (character == "\ufeff" or unicodedata.category(character) in ("Cc", "Cn", "Co"))
    }
    if odd:
        shown = ", ".join(f"U+{ord(character):04X}" for character in sorted(odd)[:3])
        raise UsageError(
            f"{path} is not text: its first line holds {shown}",
            expected="CSV with the column names in the first line",
        )


def _refuse_wide_text(path: Path, content: bytes) -> None:
    start = content[:4096]
    for offset, guess in ((1, "utf-16-le"), (0, "utf-16-be")):
        half = start[offset::2]
        if len(start) > 8 and half.count(0) > 0.8 * len(half):
            raise UsageError(
                f"{path} is UTF-16 text without a byte order mark",
                hint=f"set encoding: {guess} beside its path",
            )
