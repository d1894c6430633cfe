"""Arrays and tables that claim, or hold, more than a memory takes: refused in a sentence, unread."""

import io
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.lib import format as npy

from vjepa.data import array_files
from vjepa.data.array_files import check_table, read_arrays, read_table
from vjepa.errors import UserError


def header(shape: tuple, kind: str = "|u1") -> bytes:
    """The header of an array of this shape."""
    file = io.BytesIO()
    npy.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
    return file.getvalue()


def packed(path: Path, content: bytes, repeats: int = 1, rest: bytes = b"") -> Path:
    """An .npz with one array `a` of these bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open("a.npy", "w") as member:
        member.write(content)
        for _ in range(repeats):
            member.write(rest)
    return path


def test_arrays_come_as_they_were_written(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"a": rng.random((3, 4)), "b": np.arange(5, dtype=">i4"), "c": np.array(True)}
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    read = read_arrays(tmp_path / "a.npz", ["c", "b", "a"])
    assert all(np.array_equal(read[name], arrays[name]) for name in arrays)
    assert read["b"].dtype == np.dtype("i4")  # which PyTorch takes


BOMBS = {
    "holds": (header((300, 1024, 1024)), 300, bytes(2**20), "would take 314,572,800 bytes"),
    "claims": (header((10**6, 10**6, 3)), 1, b"abc", "would take 3,000,000,000,000 bytes"),
    "negative": (header((-1, 8)), 1, bytes(64), r"has the shape \(-1, 8\)"),
    "objects": (header((3,), "|O"), 1, bytes(64), "holds object, expected numbers"),
    "texts": (header((3,), "<U9"), 1, bytes(108), "holds <U9, expected numbers"),
    "version": (b"\x93NUMPY\x09\x00" + bytes(100), 1, b"", "unknown version"),
    "long": (b"\x93NUMPY\x02\x00\xff\xff\xff\x7f", 1, b"(" * 1000, "damaged, or of another program"),
    "short": (header((100,)), 1, bytes(50), "damaged, or of another program"),
    "no header": (b"hello", 1, b"", "damaged, or of another program"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_would_fill_the_memory_is_refused_by_its_header(tmp_path, name):
    content, repeats, rest, sentence = BOMBS[name]
    path = packed(tmp_path / "bomb.npz", content, repeats, rest)
    tracemalloc.start()
    with pytest.raises(UserError, match=rf"bomb\.npz: .*{sentence}"):
        read_arrays(path, ["a"])
    assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    tracemalloc.stop()


def test_what_is_no_zip_or_lacks_an_array_is_named(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"\x1f\x8b" + bytes(100))
    with pytest.raises(UserError, match=r"a\.npz: its content is damaged"):
        read_arrays(tmp_path / "a.npz", ["a"])
    np.savez(tmp_path / "b.npz", other=np.zeros(3))
    with pytest.raises(UserError, match=r"b\.npz: it holds \['other'\]; expected a"):
        read_arrays(tmp_path / "b.npz", ["a"])
    whole = (tmp_path / "b.npz").read_bytes()
    (tmp_path / "c.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"c\.npz: "):
        read_arrays(tmp_path / "c.npz", ["other"])


def test_a_small_table_of_very_many_numbers_is_refused(tmp_path):
    rows = 10**6
    lists = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(rows, np.float32)), 1000)
    with pq.ParquetWriter(tmp_path / "a.parquet", pa.schema([("a", lists.type)])) as file:
        for _ in range(40):
            file.write_table(pa.table({"a": lists}))
    with pytest.raises(UserError, match=r"a\.parquet: the table of 40,000 rows would take 320,000,000 bytes"):
        check_table(tmp_path / "a.parquet")
    numbers = np.random.default_rng(0).random(10**6)
    pq.write_table(pa.table({"a": numbers, "b": np.zeros(10**6)}), tmp_path / "b.parquet")
    check_table(tmp_path / "b.parquet")


def test_a_text_that_very_many_rows_share_counts_in_each(tmp_path):
    """A dictionary holds it once, and the rows of its table need no byte each."""
    once = pa.array([0] * 60_000, pa.int32())
    shared = pa.DictionaryArray.from_arrays(once, pa.array(["x" * 5_000]))
    offsets = pa.array(range(60_001), pa.int32())
    lists = pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays([shared], ["said"]))
    maps = pa.MapArray.from_arrays(offsets, pa.array(["key"] * 60_000), shared)
    for name, column in {"texts": shared, "lists": lists, "maps": maps}.items():
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table({"a": column, "b": [None] * 60_000}), path, store_schema=False)
        assert path.stat().st_size < 10_000
        with pytest.raises(UserError, match=rf"{name}\.parquet: the table of 60,000 rows would take 300,"):
            check_table(path)
        pq.write_table(pa.table({"a": column}).slice(0, 50_000), path, store_schema=False)
        check_table(path)


def test_a_large_file_is_counted_where_its_dictionaries_could_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(array_files, "MOST_COUNTED", 0)
    counted = []
    count = array_files.text_bytes
    monkeypatch.setattr(array_files, "text_bytes", lambda path: counted.append(path) or count(path))
    path = tmp_path / "a.parquet"
    for rows, texts, places in ((60_000, "x" * 5_000, [0]), (60_000, "x" * 5_000, [0] * 8 + [None] * 2)):
        once = pa.array(places * (rows // len(places)), pa.int32())
        shared = pa.DictionaryArray.from_arrays(once, pa.array([texts]))
        pq.write_table(pa.table({"a": shared}), path, row_group_size=25_000, store_schema=False)
        if None in places:  # fewer rows have a text than the dictionaries allow for
            check_table(path)
        else:
            with pytest.raises(UserError, match=r"a\.parquet: the table of 60,000 rows would take 300,"):
                check_table(path)
    assert counted == [path] * 2
    pq.write_table(pa.table({"a": [f"{i:09}" for i in range(100_000)], "b": range(100_000)}), path)
    check_table(path)
    pq.write_table(pa.table({"b": range(1000)}), path)
    check_table(path)
    assert len(counted) == 2


@pytest.mark.parametrize("counted", [0, array_files.MOST_COUNTED])
def test_texts_that_begin_alike_are_read_and_counted(tmp_path, monkeypatch, counted):
    """An encoding that Arrow does not read as a dictionary."""
    monkeypatch.setattr(array_files, "MOST_COUNTED", counted)
    path = tmp_path / "a.parquet"
    options = {"use_dictionary": False, "column_encoding": {"a": "DELTA_BYTE_ARRAY", "b": "PLAIN"}}
    table = pa.table({"a": ["x" * 5_000 + str(i) for i in range(60_000)], "b": range(60_000)})
    pq.write_table(table.slice(0, 1000), path, **options)
    assert read_table(path).num_rows == 1000
    pq.write_table(table, path, **options)
    with pytest.raises(UserError, match=r"a\.parquet: the table of 60,000 rows would take 300,"):
        check_table(path)
