"""Text files as people have them: UTF-8, Excel's UTF-16, the Western encoding of Windows; any line endings.

    text = read_text(Path("captions.csv"))
    data = read_utf8(Path("train.csv"))  # the same as bytes, for a parser

A note names an encoding that is assumed. What is no text at all is refused in a sentence.
"""

import codecs
import os
import re
from pathlib import Path

from vjepa.data.manifest_error import ManifestError
from vjepa.errors import announce, not_downloaded

WESTERN = "cp1252"
"""What Windows and older programs write in Western Europe and America. Latin-1 is a part of it."""
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
NOT_TEXT = re.compile(rb"[\x00-\x08\x0e-\x19\x1c-\x1f]")
"""Control characters that no text holds. The byte 0x1a may end a file of an old Windows program."""
PACKED = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"\x1f\x8b", b"BZh9", b"\xfd7zX", b"(\xb5/\xfd", b"7z\xbc\xaf")
"""How files of Excel, .zip, .gz, .bz2, .xz, .zst and .7z begin."""
NOT_WESTERN = re.compile(rb"[\x80-\xff]{4}|[\xc2\xc3][\x80-\xbf]")
"""Accented letters stand alone or in pairs. Longer runs are another script, and the pairs are UTF-8."""
BEGIN = 2**16
"""Bytes that are looked at before all others are read."""
MOST_BYTES = 2**32
"""Bytes of a text, which is read whole: a list of forty million videos."""


def read_text(source: Path, most: int = MOST_BYTES) -> str:
    """The text of a file, with one line feed at the end of each line and no byte order mark.

    Raises ManifestError for a file that cannot be read, holds no text, or has more than `most` bytes. A note
    names an assumed encoding."""
    return read_utf8(source, most).decode()


def read_utf8(source: Path, most: int = MOST_BYTES) -> bytes:
    """The same as bytes of UTF-8, for a parser. No line changes its number."""
    try:
        if not source.is_fifo():  # which can be read only once
            _check_begin(source, most)
        data = source.read_bytes()
    except OSError as error:
        raise ManifestError(f"{source}: cannot be read: {error.strerror}") from error

    if data.startswith(UTF16_MARKS):
        data = _decoded(source, data, "utf-16").encode()
    data = _plain(data)
    _check_text(source, data)
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return _from_western(source, data, error.start)
    return data


def _check_begin(source: Path, most: int) -> None:
    """Raise ManifestError for a file that is no text by its first bytes, or too large, before it is read."""
    with source.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        begin = file.read(BEGIN)
    if not begin.startswith(UTF16_MARKS):
        _check_text(source, _plain(begin))
    if size > most:
        reason = f"{size:,} bytes, more than the {most:,} that such a text may have"
        raise ManifestError(f"{source}: {reason}; split it, or give another file")


def _plain(data: bytes) -> bytes:
    """Text without marks of its encoding, and with one line feed at the end of each line."""
    # A mark in the middle is that of a file which was joined to another.
    data = data.removeprefix(codecs.BOM_UTF8).replace(b"\n" + codecs.BOM_UTF8, b"\n")
    # Windows ends a line with \r\n, an old Mac with \r.
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def check_unpacked(source: Path, data: bytes) -> None:
    """Raise ManifestError if these are the first bytes of a spreadsheet or of a compressed file."""
    if data.startswith(PACKED):
        advice = "save a spreadsheet as CSV, unpack any other"
        raise ManifestError(f"{source}: a spreadsheet or a compressed file; {advice}")


def _check_text(source: Path, data: bytes) -> None:
    """Raise ManifestError for what is no text of the user's own."""
    check_unpacked(source, data)
    if control := NOT_TEXT.search(data):
        reason = f"a binary file (it holds the byte {control[0][0]:#04x}), or text in UTF-16 without its mark"
        raise ManifestError(f"{source}, line {_line(data, control.start())}: {reason}; save it as UTF-8 text")
    if left := not_downloaded(data[:100]):
        raise ManifestError(f"{source}: {left}")


def _from_western(source: Path, data: bytes, first: int) -> bytes:
    """The text as UTF-8, and a note of what was assumed. `first` is the place of the first wrong byte."""
    where = f"{source}, line {_line(data, first)}"
    if NOT_WESTERN.search(data):
        raise ManifestError(f"{where}: not UTF-8, and its encoding cannot be told; save the file as UTF-8")
    text = _decoded(source, data, WESTERN)
    announce(f"{where}: not UTF-8; the file is read as {WESTERN} (Western Europe)")
    return text.encode()


def _decoded(source: Path, data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        where = f"{source}, line {_line(data, error.start)}"
        reason = f"not UTF-8, and not {encoding} either; save the file as UTF-8"
        raise ManifestError(f"{where}: {reason}") from error


def _line(data: bytes, place: int) -> int:
    """The number of the line, from 1, that the byte at `place` is in."""
    return data.count(b"\n", 0, place) + 1
