"""Text in whatever encoding is read as its author meant it, or refused in one sentence."""

import gzip
import os
import re
import threading
from pathlib import Path

import pytest

from vjepa.data import class_map
from vjepa.data.manifest_error import ManifestError
from vjepa.data.text_files import read_text

TEXT = "path,label\ncafé.mp4,fête\nb.mp4,«noël»\n"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        TEXT.replace("\n", "\n\ufeff", 2).encode("utf-8-sig"),
        TEXT.encode("utf-16-be").join([b"\xfe\xff", b""]),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r").encode(),
        TEXT.replace("\n", "\r\n").encode("utf-16"),
    ],
)
def test_every_encoding_with_a_mark_and_every_line_ending(tmp_path, data, capsys):
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    assert read_text(path) == TEXT
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("text", [TEXT, "d’été €5\nœuf\n", "jalapeño\nSão Paulo\nStraße\n"])
def test_western_text_is_read_and_named_once(tmp_path, text, capsys):
    path = tmp_path / "a.csv"
    path.write_bytes(b"plain\n" + text.encode("cp1252"))
    assert read_text(path) == "plain\n" + text
    assert read_text(path) == "plain\n" + text
    line = 2 if text != TEXT else 3
    (note,) = capsys.readouterr().err.splitlines()
    assert note == f"note: {path}, line {line}: not UTF-8; the file is read as cp1252 (Western Europe)"


@pytest.mark.parametrize(
    "data, words",
    [
        (
            "видео\n".encode("cp1251"),
            "line 1: not UTF-8, and its encoding cannot be told; save the file as UTF-8",
        ),
        ("a\n视频小狗\n".encode("gbk"), "line 2: not UTF-8, and its encoding cannot be told"),
        ("café\n".encode() + b"caf\xe9\n", "line 2: not UTF-8, and its encoding cannot be told"),
        (b"a\nb\x81 c\n", "line 2: not UTF-8, and not cp1252 either"),
        (b"\x03\x04\x14\x00", "line 1: a binary file (it holds the byte 0x03)"),
        (b"PK\x03\x04\x14\x00", "a compressed file; save a spreadsheet as CSV"),
        (gzip.compress(b"a.mp4 0\n", mtime=0), "a compressed file; save a spreadsheet as CSV"),
        ("ab".encode("utf-16-le"), "or text in UTF-16 without its mark"),
        (TEXT.encode("utf-16")[:-1], "not UTF-8, and not utf-16 either"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "fetch it with `git lfs pull`"),
        (b"\n<!DOCTYPE html>\n", "a web page, not the file itself"),
    ],
)
def test_what_is_no_text_of_the_user_is_one_sentence(tmp_path, data, words):
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    with pytest.raises(ManifestError, match=re.escape(words)) as caught:
        read_text(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_what_cannot_be_opened_is_one_sentence(tmp_path):
    with pytest.raises(ManifestError, match="cannot be read: Is a directory"):
        read_text(tmp_path)
    with pytest.raises(ManifestError, match="cannot be read: No such file"):
        read_text(tmp_path / "missing.csv")


def test_another_rank_says_nothing(tmp_path, monkeypatch, capsys):
    path = tmp_path / "a.csv"
    path.write_bytes(b"caf\xe9\n")
    monkeypatch.setenv("LOCAL_RANK", "1")
    read_text(path)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("begin", [b"", b"path,label\na.mp4,0\n"])
def test_what_is_no_text_is_refused_before_all_of_it_is_read(tmp_path, monkeypatch, begin):
    path = tmp_path / "a.csv"
    path.write_bytes(begin)
    os.truncate(path, 2**30)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("it is read"))
    with pytest.raises(ManifestError, match=r"a\.csv, line [13]: a binary file \(it holds the byte 0x00\)"):
        read_text(path)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(ManifestError, match="a binary file"):
        read_text(path)


def test_a_text_of_too_many_bytes_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_text(TEXT)
    with pytest.raises(ManifestError, match=r"a\.csv: 43 bytes, more than the 42 that such a text may have"):
        read_text(path, 42)
    assert read_text(path, 43) == TEXT
    monkeypatch.setattr(class_map, "MOST_BYTES", 42)
    with pytest.raises(ManifestError, match="more than the 42"):
        class_map.read_class_map(path)


def test_a_pipe_is_read_once(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    writer = threading.Thread(target=(tmp_path / "a.csv").write_text, args=(TEXT,))
    writer.start()
    assert read_text(tmp_path / "a.csv") == TEXT
    writer.join()
