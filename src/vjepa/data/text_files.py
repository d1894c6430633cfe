"""Text files as people have them: UTF-8, Excel's UTF-16, the Western encoding of Windows; any line endings.

    text = read_text(Path("captions.csv"))
    data = read_utf8(Path("train.csv"))  # the same as bytes, for a parser

A note names an encoding that is assumed. What is no text at all is refused in a sentence.
"""

import codecs
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


def read_text(source: Path) -> str:
    """The text of a file, with one line feed at the end of each line and no byte order mark.

    Raises ManifestError for a file that cannot be read or holds no text. A note names an assumed encoding."""
    return read_utf8(source).decode()


def read_utf8(source: Path) -> bytes:
    """The same as bytes of UTF-8, for a parser. No line changes its number."""
    try:
        data = source.read_bytes()
    except OSError as error:
        raise ManifestError(f"{source}: cannot be read: {error.strerror}") from error

    if data.startswith(UTF16_MARKS):
        data = _decoded(source, data, "utf-16").encode()
    # A mark in the middle is that of a file which was joined to another.
    data = data.removeprefix(codecs.BOM_UTF8).replace(b"\n" + codecs.BOM_UTF8, b"\n")
    # Windows ends a line with \r\n, an old Mac with \r.
    data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    _check_text(source, data)
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return _from_western(source, data, error.start)
    return data


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
