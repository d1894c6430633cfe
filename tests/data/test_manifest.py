"""Every kind of manifest becomes the same table; every mistake in one is a sentence that says where it is."""

import json
import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.videos import even_times, write_video
from vjepa.__main__ import main
from vjepa.data import check
from vjepa.data.clips import ClipConfig, load_frames
from vjepa.data.decode import open_video
from vjepa.data.decode_error import DecodeError
from vjepa.data.manifest import Row, read_manifest
from vjepa.data.manifest_error import ManifestError
from vjepa.data.targets import label_sets
from vjepa.data.views import Views, load_views
from vjepa.data.windows import starts_in


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows(path: Path) -> list[tuple]:
    """Path relative to the manifest's folder, label, start, end of every row."""
    manifest = read_manifest(path)
    parts = [manifest.row(i) for i in range(len(manifest))]
    return [(os.path.relpath(row.path, manifest.folder), row.label, row.start, row.end) for row in parts]


TWO = [("a.mp4", 0, None, None), ("my b/c.webm", 3, None, None)]


@pytest.mark.parametrize(
    "name, text",
    [
        ("a.txt", "a.mp4 0\nmy b/c.webm 3\n"),
        ("upstream.csv", "a.mp4 0\nmy b/c.webm 3\n"),
        ("no_newline_at_the_end.txt", "a.mp4 0\nmy b/c.webm 3"),
        ("windows.txt", "a.mp4 0\r\nmy b/c.webm 3\r\n"),
        ("mark.txt", "\ufeffa.mp4 0\nmy b/c.webm 3\n"),
        ("blank.txt", "\n\na.mp4 0\n\nmy b/c.webm 3\n\n\n"),
        ("tabs.txt", "a.mp4\t0\nmy b/c.webm  3 \n"),
        ("a.csv", "path,label\na.mp4,0\nmy b/c.webm,3\n"),
        ("other_order.csv", "label,path\n0,a.mp4\n3,my b/c.webm\n"),
        ("windows.csv", "path,label\r\na.mp4,0\r\nmy b/c.webm,3\r\n\r\n"),
        ("mark.csv", "\ufeffpath,label\na.mp4,0\nmy b/c.webm,3\n"),
        ("quotes.csv", '"path","label"\n"a.mp4","0"\n"my b/c.webm",3\n\n\n'),
        ("spaces.csv", "path,label\na.mp4, 0\nmy b/c.webm,3 \n"),
        ("pandas.csv", "path,label\na.mp4,0.0\nmy b/c.webm,3.0\n"),
        ("a.tsv", "path\tlabel\na.mp4\t0\nmy b/c.webm\t3\n"),
        ("SHOUT.CSV", "path,label\na.mp4,0\nmy b/c.webm,3\n"),
        ("pandas_list.csv", 'a.mp4 0\n"my b/c.webm" 3\n'),
        ("quoted.csv", '"a.mp4","0"\n"my b/c.webm","3"\n'),
        ("commas.csv", "a.mp4,0\nmy b/c.webm,3\n"),
        ("commas.txt", "a.mp4, 0\nmy b/c.webm, 3\n"),
        ("semicolons.csv", "a.mp4;0\nmy b/c.webm;3\n"),
        ("bars.txt", "a.mp4 | 0\nmy b/c.webm | 3\n"),
        ("double_colons.csv", "a.mp4::0\nmy b/c.webm::3\n"),
        ("tabs.csv", "a.mp4\t0\nmy b/c.webm\t3\n"),
        ("excel.csv", "sep=;\r\npath;label\r\na.mp4;0\r\nmy b/c.webm;3\r\n"),
        ("excel.txt", "path\tlabel\r\na.mp4\t0\r\nmy b/c.webm\t3\r\n".encode("utf-16")),
        ("space_header.csv", "path label\na.mp4 0\nmy b/c.webm 3\n"),
        ("colon_header.txt", "path::label\na.mp4::0\nmy b/c.webm::3\n"),
        ("bar_header.txt", "label|path\n0|a.mp4\n3|my b/c.webm\n"),
        ("frames.txt", 'path frames label\na.mp4 90 0\n"my b/c.webm" 12 3\n'),
        ("index.csv", ",path,label\n0,a.mp4,0\n1,my b/c.webm,3\n"),
        ("capitals.csv", "Path, LABEL\na.mp4, 0\nmy b/c.webm, 3\n"),
        ("decimals.txt", "a.mp4 0.0\nmy b/c.webm 3.0\n"),
        ("numpy.txt", "# path label\na.mp4 0\nmy b/c.webm 3\n"),
        ("hash.csv", "#path,label\na.mp4,0\nmy b/c.webm,3\n"),
        ("hash_frames.txt", '# path frames label\na.mp4 90 0\n"my b/c.webm" 12 3\n'),
        ("joined.txt", "\ufeffa.mp4 0\n\ufeffmy b/c.webm 3\n"),
        ("empty_cells.csv", "path;label;;\na.mp4;0;;\nmy b/c.webm;3;;\n;;;\n;;;\n"),
        ("empty_rows.csv", "path,label\na.mp4,0\n,\nmy b/c.webm,3\n,\n"),
        ("empty_cells.txt", "a.mp4;0;;\n;;;\nmy b/c.webm;3;;\n"),
        ("empty_tabs.tsv", "path\tlabel\t\na.mp4\t0\t\n\t\t\nmy b/c.webm\t3\t\n"),
        ("old_mac.csv", "path,label\ra.mp4,0\rmy b/c.webm,3\r"),
    ],
)
def test_text_of_every_dialect(tmp_path, name, text):
    assert rows(write(tmp_path / name, text)) == TWO


def test_labels_and_segments_are_optional_row_by_row(tmp_path):
    text = "path,label,start,end,spoken\na.mp4,,,,hi\nb.mp4,-1,1.5,,\nc.mp4,7,,2,\nd.mp4,0,1,2.25,1\n"
    path = write(tmp_path / "a.csv", text)
    assert rows(path) == [
        ("a.mp4", None, None, None),
        ("b.mp4", None, 1.5, None),
        ("c.mp4", 7, None, 2.0),
        ("d.mp4", 0, 1.0, 2.25),
    ]
    manifest = read_manifest(path)
    assert manifest.labels.tolist() == [-1, -1, 7, 0] and manifest.labels.dtype == np.int64
    assert manifest.table["spoken"].to_pylist() == ["hi", "", "", "1"]
    assert manifest.source == path


@pytest.mark.parametrize("separator", [";", "\t"])
def test_seconds_may_have_a_decimal_comma(tmp_path, separator):
    text = "path;start;end\na.mp4;0,5;2,25\nb.mp4;1.5;\n".replace(";", separator)
    path = write(tmp_path / "excel.csv", text)
    assert rows(path) == [("a.mp4", None, 0.5, 2.25), ("b.mp4", None, 1.5, None)]
    with pytest.raises(ManifestError, match=r"line 2: start is '0,5'; expected a number"):
        read_manifest(write(tmp_path / "commas.csv", 'path,start\na.mp4,"0,5"\n'))


def test_a_list_may_have_lines_without_a_label(tmp_path):
    text = "a 1.mp4\nb.mp4 2\nC.JPG\n"
    assert [row[:2] for row in rows(write(tmp_path / "a.txt", text))] == [
        ("a 1.mp4", None),
        ("b.mp4", 2),
        ("C.JPG", None),
    ]


def test_a_table_of_paths_alone(tmp_path):
    assert rows(write(tmp_path / "a.csv", "path\na.mp4\n\nb.mp4\n")) == [
        ("a.mp4", None, None, None),
        ("b.mp4", None, None, None),
    ]


def test_a_list_of_paths_alone_may_end_in_csv(tmp_path):
    text = "v/Sat_Nov_18_18:57:20_2023/1.mp4\nv/a, b; c.mp4\n"
    assert [row[:2] for row in rows(write(tmp_path / "a.csv", text))] == [
        ("v/Sat_Nov_18_18:57:20_2023/1.mp4", None),
        ("v/a, b; c.mp4", None),
    ]


def test_text_in_quotes_may_hold_line_breaks_and_separators(tmp_path):
    said = ["two\nlines, and, more", "see b.mp4\n1,2", 'he said "go"\n\nand, "stop"']
    quoted = ['"' + text.replace('"', '""') + '"' for text in said]
    text = "path,label,said\n" + "".join(f"{i}.mp4,{i},{value}\n" for i, value in enumerate(quoted))
    manifest = read_manifest(write(tmp_path / "a.csv", text))
    assert manifest.table["said"].to_pylist() == said and manifest.labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "text, first",
    [
        ("0 a.mp4\n1 b.mp4\n", "0"),
        ("walk,a.mp4\n", "walk"),
        ("0,a.mp4,5\n", "0"),
        ("long jump\tb.mp4\n", "long jump"),
    ],
)
def test_a_label_before_the_path_is_told_so(tmp_path, text, first):
    for name in "ab":
        write(tmp_path / f"{name}.mp4", b"")
    with pytest.raises(
        ManifestError, match=rf"line 1: '{first}' stands before the path '[ab]\.mp4', and a list"
    ):
        read_manifest(write(tmp_path / "a.txt", text))
    # Files that have such names are files.
    for line in text.splitlines():
        write(tmp_path / line.removesuffix(",5"), b"")
    assert read_manifest(tmp_path / "a.txt").row(0).path.exists()


def test_addresses_of_files_are_paths(tmp_path):
    text = "file:///data/my%20b.mp4 0\nfile://localhost/data/c.mp4 1\nd.mp4 2\n"
    assert read_manifest(write(tmp_path / "a.txt", text)).table["path"].to_pylist() == [
        "/data/my b.mp4",
        "/data/c.mp4",
        "d.mp4",
    ]


def test_whole_numbers_are_exact(tmp_path):
    largest = [9007199254740993, 2**63 - 1, 0]
    text = "path,label\n" + "".join(f"a.mp4,{number}\n" for number in largest)
    assert read_manifest(write(tmp_path / "a.csv", text)).labels.tolist() == largest


def test_names_without_an_ending_are_paths_if_such_files_exist(tmp_path):
    write(tmp_path / "one", b"")
    assert rows(write(tmp_path / "a.txt", "one\ntwo\n"))[1][0] == "two"
    assert rows(write(tmp_path / "b.txt", "one 3\ntwo 4\n"))[1][:2] == ("two", 4)


def test_quoted_commas_stay_in_the_path(tmp_path):
    assert rows(write(tmp_path / "a.csv", 'path,label\n"a, ""b"".mp4",1\n'))[0][:2] == ('a, "b".mp4', 1)


def test_absolute_paths_stay_and_others_start_at_the_manifest(tmp_path, monkeypatch):
    write(tmp_path / "deep" / "a.txt", "/data/a.mp4 0\n../b.mp4 1\n")
    monkeypatch.chdir(tmp_path)
    manifest = read_manifest("deep/a.txt")
    assert manifest.row(0) == Row(Path("/data/a.mp4"), 0, None, None)
    assert manifest.row(1).path == Path("deep/../b.mp4")


def test_paths_may_begin_at_the_working_folder_or_at_home(tmp_path, monkeypatch, capsys):
    write(tmp_path / "work/v/a.mp4", b"")
    write(tmp_path / "lists/a.txt", "v/a.mp4 1\nv/b.mp4 2\n")
    monkeypatch.chdir(tmp_path / "work")
    assert read_manifest("../lists/a.txt").row(1).path == Path("v/b.mp4")
    assert "its paths are relative to the working folder" in capsys.readouterr().err
    # One decision for all rows: what lies beside the list comes first.
    write(tmp_path / "lists/v/b.mp4", b"")
    assert read_manifest("../lists/a.txt").row(0).path == Path("../lists/v/a.mp4")
    assert capsys.readouterr().err == ""

    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_manifest(write(tmp_path / "home.txt", "~/v/a.mp4 1\n")).row(0).path == tmp_path / "v/a.mp4"


def test_backslashes_are_slashes_where_that_finds_the_files(tmp_path, capsys):
    write(tmp_path / "v/a.mp4", b"")
    assert rows(write(tmp_path / "a.csv", "v\\a.mp4,1\n"))[0][0] == "v/a.mp4"
    assert "backslashes in its paths are read as slashes" in capsys.readouterr().err
    assert rows(write(tmp_path / "b.csv", "w\\a.mp4,1\n"))[0][0] == "w\\a.mp4"


def test_a_folder_is_its_videos_sorted(tmp_path):
    for name in ("b.mp4", "a/z.MKV", "a/y.webm", "a/notes.txt", "a/._y.webm", ".cache/x.mp4", "c.png"):
        write(tmp_path / name, "")
    assert rows(tmp_path) == [(name, None, None, None) for name in ("a/y.webm", "a/z.MKV", "b.mp4")]


@pytest.mark.parametrize("kind", [pa.int8(), pa.int64(), pa.uint16(), pa.float64(), pa.string()])
def test_parquet(tmp_path, kind):
    columns = {
        "path": [row[0] for row in TWO] + ["d.mp4"],
        "label": pa.array([0, 3, None]).cast(kind),
        "odd": [[1], [], None],
    }
    pa.parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert rows(tmp_path / "a.parquet") == [*TWO, ("d.mp4", None, None, None)]
    assert read_manifest(tmp_path / "a.parquet").table["odd"].to_pylist() == [[1], [], None]


def test_parquet_of_newer_writers(tmp_path):
    view = pa.string_view()
    columns = {"path": pa.array(["a.mp4", "b.mp4"], view), "label": pa.array(["walk", "run"], view)}
    pa.parquet.write_table(pa.table(columns | {"labels": [[1], [0, 2]]}), tmp_path / "a.parquet")
    manifest = read_manifest(tmp_path / "a.parquet")
    assert manifest.labels.tolist() == [1, 0] and manifest.row(1).path == tmp_path / "b.mp4"
    assert label_sets(manifest, 3).tolist() == [[0, 1, 0], [1, 0, 1]]


MALFORMED = {
    "no rows at all": ("a.csv", "", "the file is empty"),
    "nothing but blank lines": ("a.txt", "\n \r\n", "the file is empty"),
    "a header alone": ("a.csv", "path,label\n", "there are no rows"),
    "a header without path": ("a.csv", "clip,label\na.mp4,3\n", "no column 'path', only ['clip', 'label']"),
    "another name for path": ("a.csv", "filename,label\na.mp4,3\n", "rename the column 'filename' to 'path'"),
    "annotations of Kinetics": (
        "a.csv",
        "label,youtube_id,time_start\nabseiling,-3B32,1\n",
        "no column 'path', only ['label', 'youtube_id', 'time_start']; add one with the path of each video",
    ),
    "path, frames, label": (
        "a.txt",
        "a.mp4 1\n\nb.mp4 90 0\n",
        "line 3: 2 values after the path ('90', '0'), and a list has one, the label; "
        "name all columns in a first line, such as 'path frames label'",
    ),
    "folders of frames": ("a.txt", "x/a 163 1\nx/b 122 1\n", "line 1: 2 values after the path ('163', '1')"),
    "names without an ending": ("a.txt", "34870 37 14\n", "2 values after the path ('37', '14')"),
    "a start and an end": ("a.csv", "a.mp4,1.5,2,3\n", "3 values after the path ('1.5', '2', '3')"),
    "three values further down": (
        "a.txt",
        "a.mp4 1\n" * 200 + "b.mp4 90 0\n",
        "line 201: several values after the path",
    ),
    "two separators": (
        "a.txt",
        "a.mp4,1\nb.mp4;2\n",
        "separated by a comma (line 1) and a semicolon (line 2); use one",
    ),
    "prose": ("a.txt", "Read me.\nIt lists nothing.\n", "line 1: 'Read me.' begins with no path"),
    "numbers in place of files": ("a.csv", "34870;Drumming\n", "'34870;Drumming' begins with no path"),
    "an address": ("a.txt", "a.mp4 1\nnas://b/c.mp4 2\n", "line 2: nas://b/c.mp4: nas:// is no storage that"),
    "several labels": ("a.csv", "a.mp4 0|3\nb.mp4 1\n", "line 1: label is '0|3'; expected a whole number"),
    "an open quote": ("a.csv", 'path,label\n"a.mp4,1\nb.mp4,2\n', "line 2: a quote opens there that is not"),
    "a mistake after a line break in quotes": (
        "a.csv",
        'path,label,said\na.mp4,1,"one\n\ntwo"\n\nb.mp4,-2,x\n',
        "line 6: label is -2",
    ),
    "a column twice": ("a.csv", "path,label,path\na.mp4,3,b.mp4\n", "two columns have the same name"),
    "a word for a label": (
        "a.csv",
        "path,label\na.mp4,3\n\nb.mp4,dog\n",
        "line 4: label is 'dog'; expected a whole number",
    ),
    "half a label": ("a.csv", "path,label\na.mp4,3.5\n", "line 2: label is '3.5'; expected a whole number"),
    "a negative label": (
        "a.csv",
        "path,label\na.mp4,-1\nb.mp4,-2\n",
        "line 3: label is -2; expected 0 or more, or -1",
    ),
    "a negative label in a list": (
        "a.txt",
        "a.mp4 -1\nb.mp4 -2\n",
        "line 2: label is -2; expected 0 or more, or -1",
    ),
    "a word for a label in a list": (
        "a.txt",
        "a.mp4 1\n\nb.mp4 dog\n",
        "line 3: label is 'dog'; expected a whole number, or nothing, as in other rows",
    ),
    "too many values": (
        "a.csv",
        "path,label\na.mp4,3\nb, c.mp4,4\n",
        "line 3: 3 values, but the header names 2 columns",
    ),
    "too few values": (
        "a.csv",
        "path,label\n\na.mp4,3\nb.mp4\n",
        "line 4: 1 values, but the header names 2 columns",
    ),
    "an end before the start": (
        "a.csv",
        "path,start,end\na.mp4,3,4\nb.mp4,4,3\n",
        "line 3: end is 3.0, which is not after",
    ),
    "no length": ("a.csv", "path,start,end\na.mp4,3,3\n", "line 2: end is 3.0, which is not after start"),
    "an end at zero": ("a.csv", "path,end\na.mp4,0\n", "line 2: end is 0.0, which is not after start"),
    "a start before the beginning": (
        "a.csv",
        "path,start\na.mp4,-1\n",
        "line 2: start is -1.0; expected seconds, 0 or more",
    ),
    "an endless end": ("a.csv", "path,end\na.mp4,inf\n", "line 2: end is inf; expected seconds"),
    "a clock time": (
        "a.csv",
        "path,start\na.mp4,00:01:30\n",
        "line 2: start is '00:01:30'; expected a number",
    ),
    "an empty path": ("a.csv", "path,label\na.mp4,1\n ,2\n", "line 3: path is empty"),
    "another script": ("a.csv", "path\nвидео.mp4\n".encode("cp1251"), "line 2: not UTF-8, and its encoding"),
    "a spreadsheet": (
        "a.csv",
        b"PK\x03\x04",
        "a.csv: a spreadsheet or a compressed file; save a spreadsheet",
    ),
    "joined tables": (
        "a.csv",
        "path,label\na.mp4,0\npath,label\nb.mp4,1\n",
        "line 3: the header stands here again",
    ),
    "joined tables of names": (
        "a.csv",
        "\ufeffPath,Label\na.mp4,walk\n\n\ufeffPath,Label\nb.mp4,run\n",
        "line 4: the header stands here again; remove this line",
    ),
    "joined tables of paths": ("a.csv", "path\na.mp4\npath\nb.mp4\n", "line 3: the header stands here again"),
    "a table joined to a list": ("a.csv", "a.mp4,walk\npath,label\nb.mp4,run\n", "line 2: the header stands"),
    "a quote that swallows rows": (
        "s.tsv",
        'path\tlabel\tnote\na.mp4\twalk\t"quoted start\nb.mp4\trun\tfoo\na.mp4\twalk\t"end\n',
        "line 2: a quote opens there that is not closed",
    ),
    "a quote that swallows the next row": (
        "s.tsv",
        'path\tlabel\na.mp4\twalk\nb.mp4\t"6 pipe\nc.webm\t"run\n',
        "line 3: a quote opens there that is not closed",
    ),
    "a quote before the path": (
        "s.tsv",
        'label\tpath\n"walk\ta.mp4\n"run\tb.mp4\n',
        "line 2: a quote opens there that is not closed",
    ),
    "a quote that never closes": (
        "s.csv",
        'path,label,note\na.mp4,0,"x\nb.mp4,1,y\n',
        "line 2: a quote opens there that is not closed",
    ),
    "a list in itself": ("a.txt", "b.mp4 1\na.txt 0\n", "line 2: "),
    "a table in itself": (
        "a.csv",
        "path,label\na.csv,0\n",
        "line 2: 'a.csv' is a list or a table; expected a video",
    ),
    "another ending": ("a.json", "{}", "ends in .csv, .tsv, .txt or .parquet, not in '.json'"),
    "no Parquet": ("a.parquet", "path,label\n", "a.parquet: its content is damaged, or of another program"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_malformed_is_one_sentence(tmp_path, case):
    name, text, words = MALFORMED[case]
    path = write(tmp_path / name, text)
    with pytest.raises(ManifestError, match=re.escape(words)) as caught:
        read_manifest(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_what_is_malformed_elsewhere(tmp_path):
    with pytest.raises(ManifestError, match=r"no such file or folder"):
        read_manifest(tmp_path / "missing.csv")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ManifestError, match=r"no videos in this folder or below; looked for \.mp4"):
        read_manifest(tmp_path / "folder")
    pa.parquet.write_table(pa.table({"file": ["a.mp4"]}), tmp_path / "a.parquet")
    with pytest.raises(ManifestError, match="rename the column 'file' to 'path'"):
        read_manifest(tmp_path / "a.parquet")
    pa.parquet.write_table(
        pa.table({"path": ["a.mp4", "b.mp4"], "label": [0.0, 0.5]}), tmp_path / "a.parquet"
    )
    with pytest.raises(ManifestError, match=r"row 1 \(counted from 0\): label is 0.5"):
        read_manifest(tmp_path / "a.parquet")
    pa.parquet.write_table(pa.table({"path": [1, 2]}), tmp_path / "a.parquet")
    with pytest.raises(ManifestError, match="path holds int64; expected text"):
        read_manifest(tmp_path / "a.parquet")


def test_it_travels_to_workers(tmp_path):
    path = write(tmp_path / "a.txt", "a.mp4 1\nb.mp4 2\n")
    copy = pickle.loads(pickle.dumps(read_manifest(path)))
    assert copy.row(1) == Row(tmp_path / "b.mp4", 2, None, None) and copy.labels.tolist() == [1, 2]


def test_two_hundred_thousand_rows_read_at_once(tmp_path):
    """Ten times as many take a few seconds: nothing loops over rows in Python."""
    lines = [f"videos/{i:08}.mp4,{i % 400},1.5,11.5" for i in range(200_000)]
    path = write(tmp_path / "a.csv", "path,label,start,end\n" + "\n".join(lines))
    begin = time.perf_counter()
    manifest = read_manifest(path)
    assert time.perf_counter() - begin < 2
    assert len(manifest) == 200_000 and manifest.row(123_456).label == 123_456 % 400


# The check


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "good one.mp4", even_times(40, 20))
    write_video(folder / "wide.mkv", even_times(30), size=(128, 64))
    write(folder / "page.mp4", "<html></html>")
    return folder


def test_check_counts_the_good_and_names_the_bad(videos, capsys):
    good = "path,label,start,end\ngood one.mp4,4,0.5,1.5\nwide.mkv,,,\n\n"
    bad = "page.mp4,2,,\nmissing.mp4,1,,\nwide.mkv,1,0.5,99\n"
    file = write(videos / "some.csv", good + bad)
    with pytest.raises(SystemExit, match="2"):
        main(["data", "check", str(file), "--json", str(videos / "report.json")])
    report = json.loads((videos / "report.json").read_text())
    assert [report[key] for key in ("rows", "ok", "labelled", "labels")] == [5, 2, 4, 3]
    assert report["fps"] == {"min": 20, "median": 25, "max": 30} and report["codecs"] == {"h264": 2}
    assert report["seconds"] == {"min": 1, "median": 1, "max": 1} and report["width"]["max"] == 128
    assert [bad["place"] for bad in report["bad"]] == ["line 5", "line 6", "line 7"]
    printed = capsys.readouterr().out
    assert "5 rows, 2 ok, 3 bad" in printed and "fps      20 to 30, median 25" in printed
    assert f"line 6: {videos / 'missing.mp4'}: No such file or directory" in printed
    assert "the segment 0.5 to 99 s reaches past the video's end at 1 s" in printed


def test_a_segment_that_ends_a_little_late_is_cut_and_counted(videos, capsys):
    """Half a second, whoever reads it: the check, training, and evaluation in views and windows."""
    late = write(videos / "late.csv", "path,start,end\nwide.mkv,0,1.5\nwide.mkv,0.2,0.9\nwide.mkv,0.5,\n")
    report = check.check(read_manifest(late), frames=2, workers=1, timeout=60.0)
    assert (report["ok"], report["segments_cut"]) == (3, 1)
    assert "segments cut: 1; they end up to 0.5 s after their video" in check.as_text(report)

    manifest = read_manifest(late)
    clip = ClipConfig(frames=4, fps=4.0, size=16)
    assert len(load_frames(manifest.row(0), clip, None)) == 4
    assert len(load_views(manifest.row(0), clip, Views(2))) == 2
    assert starts_in(manifest.row(0), clip, 0.0) == [0.0]

    later = write(videos / "later.csv", "path,start,end\nwide.mkv,0,1.6\nwide.mkv,1.2,1.4\n")
    for row in map(read_manifest(later).row, (0, 1)):
        with pytest.raises(DecodeError, match="reaches past the video's end at 1 s"):
            load_frames(row, clip, None)


def test_check_of_a_good_folder(videos, tmp_path, capsys):
    (tmp_path / "a.mp4").write_bytes((videos / "good one.mp4").read_bytes())
    main(["data", "check", str(tmp_path), "--frames", "1"])
    assert "1 row, 1 ok, 0 bad" in capsys.readouterr().out


def test_check_of_a_bad_manifest_is_one_line(tmp_path):
    command = [sys.executable, "-m", "vjepa", "data", "check", str(tmp_path / "no.csv")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {tmp_path / 'no.csv'}: no such file or folder\n"


def test_check_refuses_no_workers(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["data", "check", str(tmp_path), "--workers", "0"])
    assert "--workers 0: give 1 to" in capsys.readouterr().err


@pytest.mark.skipif(
    multiprocessing.get_start_method() != "fork", reason="the stand-in decoder reaches workers by fork"
)
def test_a_file_that_hangs_or_crashes_is_a_bad_row(videos, tmp_path, monkeypatch):
    """And all the others are still looked at."""

    def open_stand_in(path):
        if path.name == "hangs.mp4":
            time.sleep(60)
        if path.name == "crashes.mp4":
            os.kill(os.getpid(), signal.SIGKILL)
        if path.name == "surprises.mp4":
            raise MemoryError("too large")
        return open_video(videos / "good one.mp4")

    monkeypatch.setattr(check, "open_video", open_stand_in)
    good = [f"{i}.mp4" for i in range(20)]
    names = [*good, "crashes.mp4", "hangs.mp4", *good, "crashes.mp4", "surprises.mp4"]
    manifest = read_manifest(write(tmp_path / "a.txt", "\n".join(names)))

    begin = time.monotonic()
    report = check.check(manifest, frames=1, workers=2, timeout=1.5)
    assert time.monotonic() - begin < 10
    assert report["ok"] == 40
    assert [(bad["place"], bad["reason"]) for bad in report["bad"]] == [
        ("line 21", "decoding it ended the process (exit code -9)"),
        ("line 22", "no answer within 1.5 s"),
        ("line 43", "decoding it ended the process (exit code -9)"),
        ("line 44", "decoding it failed: MemoryError: too large"),
    ]
