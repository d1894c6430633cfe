"""A large Parquet manifest that is mapped is the table that is read; its cache is never old, torn, mixed."""

import multiprocessing
import os
import random
import signal
import stat
import time
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from vjepa.data import cache_builder, manifest_cache, media_paths
from vjepa.data.digest import manifest_digest, rows_digest
from vjepa.data.manifest import Manifest, read_manifest, read_manifests
from vjepa.data.manifest_error import ManifestError
from vjepa.data.storage import StorageConfig

ROWS = 1000


@pytest.fixture
def mapped(monkeypatch):
    """Parquet files of any length are mapped, in batches of 64 rows."""
    monkeypatch.setattr(manifest_cache, "FEWEST", 1)
    monkeypatch.setattr(cache_builder, "BATCH", 64)


def columns(rows: int = ROWS, seed: int = 0) -> dict:
    """All kinds of columns, some with gaps."""
    rng = np.random.default_rng(seed)
    numbers = np.arange(rows)
    start = rng.uniform(0, 9, rows).round(3)
    gaps = numbers % 3 == 0
    return {
        "path": [f"videos/ä{number % 7}/{number}.mp4" for number in numbers],
        "label": pa.array(numbers % 10, pa.int32(), mask=numbers % 5 == 1),
        "start": pa.array(start, pa.float32(), mask=gaps),
        "end": pa.array(start + 1.5, mask=gaps),
        "labels": [[int(number % 4), 5] for number in numbers],
        "said": pa.array([f"text {number}" for number in numbers]),
    }


def write(folder: Path, rows: dict, name: str = "list.parquet", **options) -> Path:
    pa.parquet.write_table(pa.table(rows), folder / name, **options)
    return folder / name


def read_in_memory(path: Path, monkeypatch) -> Manifest:
    with monkeypatch.context() as patch:
        patch.setattr(manifest_cache, "FEWEST", 10**9)
        return read_manifest(path)


NAMED = ["swim", "run", None, "swim", " jump ", "run"] * 100
SHARDS = {
    "shard": ["0.tar"] * 600,
    "offset": list(range(512, 512 + 600)),
    "size": [9] * 600,
    "digest": ["0123456789ab"] * 600,
}
CASES = {
    "all columns": lambda: columns(),
    "a path alone": lambda: {"path": ["a.mp4", "b.mp4", "c.mp4"]},
    "labels as text": lambda: {"path": ["a.mp4"] * 300, "label": ["1", " 2", ""] * 100},
    "names of classes": lambda: {"path": [f"{i}.mp4" for i in range(600)], "label": NAMED},
    "a dictionary": lambda: {
        "path": pa.array(["a.mp4", "b.mp4"] * 99).dictionary_encode(),
        "label": ["x", "y"] * 99,
    },
    "text of another type": lambda: {"path": pa.array(["a.mp4", "b.mp4"] * 99, pa.string_view())},
    "an index of shards": lambda: {"path": [f"{i}.mp4" for i in range(600)], **SHARDS},
    "another name of path": lambda: {"PATH": ["x/y/a.mp4", "x/y/b.mp4"] * 50, "duration": [2.5, None] * 50},
    "files and homes": lambda: {"path": ["~/a.mp4", "file:///data/b%20c.mp4", "/x/y.mp4"] * 30},
    "addresses": lambda: {"path": ["memory://b/a.mp4", "memory://b/c.mp4"] * 50},
    "labels with names": lambda: {"path": ["a.mp4", "b.mp4"], "label": [0, 1], "label_name": ["x", "y"]},
}


@pytest.fixture(autouse=True)
def bucket():
    """Something that can be asked for, at an address."""
    fsspec.filesystem("memory").pipe("/b/a.mp4", b"a")


@pytest.mark.parametrize("case", CASES)
def test_what_is_mapped_is_what_is_read(tmp_path, mapped, monkeypatch, case):
    path = write(tmp_path, CASES[case](), row_group_size=100)
    read = read_in_memory(path, monkeypatch)
    assert not (tmp_path / "list.parquet.cache").exists()
    for _ in range(2):  # as it is built, and from the cache
        found = read_manifest(path)
        assert (tmp_path / "list.parquet.cache").exists()
        assert found.table.select(read.table.column_names).to_pydict() == read.table.to_pydict()
        assert [found.row(i) for i in range(len(found))] == [read.row(i) for i in range(len(read))]
        assert found.labels.tolist() == read.labels.tolist() and found.classes == read.classes
        assert found.different_labels == read.different_labels
        assert rows_digest(found) == rows_digest(read) and found.digests
        assert manifest_digest(found) == manifest_digest(read)


def test_rows_are_found_without_a_search_and_without_a_copy(tmp_path, mapped):
    path = write(tmp_path, columns())
    read_manifest(path)
    before = pa.total_allocated_bytes()
    manifest = read_manifest(path)
    assert pa.total_allocated_bytes() - before < 10_000  # 1,000 rows take 60,000 bytes
    assert all(
        column.num_chunks == 1 for column in manifest.table.select(["path", "label", "start", "end"]).columns
    )
    assert not manifest.labels.flags.owndata


def test_names_have_the_numbers_of_other_lists(tmp_path, mapped, monkeypatch):
    path = write(tmp_path, {"path": ["a.mp4", "b.mp4", "c.mp4"], "label": ["run", "swim", None]})
    other = write(tmp_path, {"path": ["d.mp4"], "label": ["jump"]}, "other.parquet")
    for _ in range(2):
        both = read_manifests([path, other])
        assert both[0].labels.tolist() == [1, 2, -1] and both[1].labels.tolist() == [0]
        # Its digest is that of the numbers that it has now.
        assert rows_digest(both[0]) != rows_digest(read_manifest(path))
    with pytest.raises(ManifestError, match=r"row 1 \(counted from 0\): class 'swim' is none of the 1 of"):
        read_manifest(path, {"run": 0})


MISTAKES = {
    "a label": (
        {"label": ["1"] * 150 + ["x"] + ["1"] * 49},
        r"row 150 \(counted from 0\): label is 'x'; expected a whole",
    ),
    "a negative label": ({"label": [0] * 190 + [-2] + [0] * 9}, r"row 190 \(counted from 0\): label is -2"),
    "an empty path": ({"path": ["a.mp4"] * 199 + [" "]}, r"row 199 \(counted from 0\): path is empty"),
    "no path": (
        {"path": ["a.mp4"] * 70 + [None] + ["a.mp4"] * 129},
        r"row 70 \(counted from 0\): path is empty",
    ),
    "an end": (
        {"start": [2.0] * 200, "end": [3.0] * 100 + [1.0] + [3.0] * 99},
        r"row 100 .*end is 1.0, which is not",
    ),
    "not a number": ({"end": [3.0] * 100 + [float("nan")] + [3.0] * 99}, r"row 100 .*end is nan"),
    "a list in it": ({"path": ["a.mp4"] * 131 + ["b.csv"] + ["a.mp4"] * 68}, r"row 131 .*'b.csv' is a list"),
    "a size": (
        {"shard": ["0.tar"] * 200, "offset": [1] * 200, "size": [1] * 128 + [-1] * 72},
        "row 128 .*size is -1",
    ),
    "a protocol": ({"path": ["a.mp4"] * 131 + ["nas://b.mp4"] * 69}, r"row 131 .*nas:// is no storage"),
    "no column": ({"path": None, "video": ["a.mp4"] * 200}, "no column 'path'.*rename the column 'video'"),
    "two columns": ({"path": ["a.mp4"] * 200, "Path": ["a.mp4"] * 200, "label": None}, "same name"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_names_its_row_and_leaves_nothing(tmp_path, mapped, case):
    changes, words = MISTAKES[case]
    rows = {"path": ["a.mp4"] * 200} | changes
    path = write(
        tmp_path, {name: column for name, column in rows.items() if column is not None}, row_group_size=50
    )
    with pytest.raises(ManifestError, match=words) as error:
        read_manifest(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
    if case != "a protocol":
        assert list(tmp_path.iterdir()) == [path]


def test_a_source_that_changed_is_read_anew(tmp_path, mapped):
    path = write(tmp_path, {"path": ["a.mp4", "b.mp4"], "label": [0, 1]})
    assert read_manifest(path).labels.tolist() == [0, 1]
    state = path.stat()
    write(tmp_path, {"path": ["a.mp4", "b.mp4"], "label": [1, 0]})
    assert path.stat().st_size == state.st_size
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert read_manifest(path).labels.tolist() == [1, 0]


def test_a_source_that_changed_in_its_middle_under_its_old_time_is_read_anew(tmp_path, mapped, monkeypatch):
    monkeypatch.setattr(manifest_cache, "EDGE", 8)
    rows = {"path": ["a.mp4", "b.mp4", "c.mp4", "d.mp4"], "label": [0, 1, 2, 3]}
    path = write(tmp_path, rows, use_dictionary=False, compression="none")
    read_manifest(path)
    state = path.stat()
    time.sleep(0.02)  # the clock of a file system has a few milliseconds
    write(tmp_path, rows | {"label": [0, 2, 1, 3]}, use_dictionary=False, compression="none")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert path.stat().st_size == state.st_size
    assert read_manifest(path).labels.tolist() == [0, 2, 1, 3]


def damage_byte(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(content)


DAMAGES = {
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "empty": lambda path: path.write_bytes(b""),
    "three bytes": lambda path: path.write_bytes(b"abc"),
    "other bytes": lambda path: path.write_bytes(os.urandom(5000)),
    "one bit": lambda path: damage_byte(path, path.stat().st_size // 2),
    "a bit of its checksum": lambda path: damage_byte(path, -1),
    "more bytes": lambda path: path.write_bytes(path.read_bytes() + b"x"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_cache_is_named_and_built_anew(tmp_path, mapped, monkeypatch, case):
    told = []
    monkeypatch.setattr(manifest_cache, "announce", told.append)
    path = write(tmp_path, columns())
    expected = read_manifest(path).table.to_pydict()
    cache = tmp_path / "list.parquet.cache"
    content = cache.read_bytes()
    DAMAGES[case](cache)
    assert read_manifest(path).table.to_pydict() == expected
    assert set(told) == {f"{cache} is damaged; it is built anew"} and cache.read_bytes() == content


def test_a_cache_of_another_version_or_home_is_built_anew(tmp_path, mapped, monkeypatch):
    path = write(tmp_path, {"path": ["~/a.mp4"]})
    monkeypatch.setenv("HOME", "/one")
    assert str(read_manifest(path).row(0).path) == "/one/a.mp4"
    monkeypatch.setenv("HOME", "/two")
    assert str(read_manifest(path).row(0).path) == "/two/a.mp4"
    before = (tmp_path / "list.parquet.cache").stat().st_ino
    monkeypatch.setattr(manifest_cache, "FORMAT", 99)
    read_manifest(path)
    assert (tmp_path / "list.parquet.cache").stat().st_ino != before


def test_what_was_mapped_stays_when_the_cache_is_replaced(tmp_path, mapped):
    path = write(tmp_path, columns())
    manifest = read_manifest(path)
    expected = manifest.row(500)
    write(tmp_path, columns(seed=1))
    read_manifest(path)
    assert manifest.row(500) == expected


def test_where_nothing_can_be_written_the_cache_lies_elsewhere(tmp_path, mapped, monkeypatch):
    folder = tmp_path / "data"
    folder.mkdir()
    path = write(folder, columns())
    # Rights do not hold for root, so the refusal is made.
    complete = manifest_cache.complete_file

    def refused(target):
        if target.parent == folder:
            raise PermissionError(13, "Permission denied", str(target))
        return complete(target)

    monkeypatch.setattr(manifest_cache, "complete_file", refused)
    elsewhere = StorageConfig(cache=str(tmp_path / "cache"))
    first = read_manifest(path, storage=elsewhere)
    assert list(folder.iterdir()) == [path]
    assert len(list((tmp_path / "cache/manifests").rglob("list.parquet.cache"))) == 1
    assert read_manifest(path, storage=elsewhere).table.equals(first.table)
    # Two sources of one name do not share a cache.
    assert folder.stat().st_mode & stat.S_IWUSR


def test_where_nothing_at_all_can_be_written_a_sentence_says_so(tmp_path, mapped, monkeypatch):
    path = write(tmp_path, columns())

    def full(target):
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(manifest_cache, "complete_file", full)
    with pytest.raises(ManifestError, match=r"list\.parquet: neither .* nor .* can be written to.*make room"):
        read_manifest(path, storage=StorageConfig(cache=str(tmp_path / "cache")))


def read_in_a_full_folder(folder: Path, path: Path, monkeypatch, storage: StorageConfig) -> Manifest:
    """As where a disk is full: what is written fails, and the error names no file."""
    append = cache_builder.Builder.append

    def full(self, table):
        if self.folder.is_relative_to(folder):
            raise OSError(28, "No space left on device")
        append(self, table)

    monkeypatch.setattr(cache_builder.Builder, "append", full)
    return read_manifest(path, storage=storage)


def test_where_the_disk_is_full_the_cache_lies_elsewhere(tmp_path, mapped, monkeypatch):
    folder = tmp_path / "data"
    folder.mkdir()
    path = write(folder, columns())
    elsewhere = StorageConfig(cache=str(tmp_path / "cache"))
    assert len(read_in_a_full_folder(folder, path, monkeypatch, elsewhere)) == ROWS
    assert list(folder.iterdir()) == [path]
    with pytest.raises(ManifestError, match=r"neither .*data nor .* can be written to.*make room"):
        read_in_a_full_folder(tmp_path, path, monkeypatch, StorageConfig(cache=str(tmp_path / "other")))


def test_where_a_folder_has_its_name_the_cache_lies_elsewhere(tmp_path, mapped, capsys):
    path = write(tmp_path, columns())
    (tmp_path / "list.parquet.cache").mkdir()
    elsewhere = StorageConfig(cache=str(tmp_path / "cache"))
    assert len(read_manifest(path, storage=elsewhere)) == ROWS
    assert "list.parquet.cache cannot be written (it is a folder)" in capsys.readouterr().err
    assert len(list((tmp_path / "cache").rglob("list.parquet.cache"))) == 1


def build_and_die(path: Path) -> None:
    manifest_cache.FEWEST = 1
    cache_builder.Builder.write_others = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    read_manifest(path)


def test_what_a_killed_build_left_is_removed_and_what_a_running_one_needs_is_not(tmp_path, mapped):
    path = write(tmp_path, columns())
    process = multiprocessing.get_context("fork").Process(target=build_and_die, args=(path,))
    process.start()
    process.join()
    assert len(list(tmp_path.iterdir())) == 2
    with manifest_cache.build_folder(tmp_path, "list.parquet.cache") as running:
        assert len(list(tmp_path.iterdir())) == 2  # the killed one's is gone
        read_manifest(path)
        names = {"list.parquet", "list.parquet.cache", running.name}
        assert {each.name for each in tmp_path.iterdir()} == names


def open_and_tell(path: Path, barrier, told) -> None:
    manifest_cache.FEWEST = 1
    count = []
    write = cache_builder.Builder.write

    def counted(self, target, key):
        count.append(1)
        time.sleep(0.3)  # so that the others meet it
        write(self, target, key)

    cache_builder.Builder.write = counted
    barrier.wait()
    manifest = read_manifest(path)
    told.put((len(count), rows_digest(manifest), len(manifest)))


def test_one_process_builds_and_the_others_wait(tmp_path):
    path = write(tmp_path, columns())
    context = multiprocessing.get_context("fork")
    told, barrier = context.Queue(), context.Barrier(4)
    processes = [context.Process(target=open_and_tell, args=(path, barrier, told)) for _ in range(4)]
    for process in processes:
        process.start()
    answers = [told.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert sum(built for built, _, _ in answers) == 1
    assert len({digest for _, digest, _ in answers}) == 1
    assert sorted(each.name for each in tmp_path.iterdir()) == ["list.parquet", "list.parquet.cache"]


def test_small_files_are_read_without_a_cache(tmp_path):
    path = write(tmp_path, columns())
    read_manifest(path)
    assert list(tmp_path.iterdir()) == [path]


def test_addresses_are_found_in_every_batch(tmp_path, mapped):
    paths = [f"/data/{number}.mp4" for number in range(500)]
    paths[333] = "memory://b/a.mp4"
    manifest = read_manifest(write(tmp_path, {"path": paths}))
    assert str(manifest.row(333).path) == "memory://b/a.mp4"
    assert media_paths.protocols_in(manifest.table["path"]) == ["memory"]


@pytest.mark.slow
def test_a_million_rows_take_little_memory_and_open_at_once(tmp_path):
    rows = 1_000_000
    numbers = np.arange(rows)
    path = write(
        tmp_path, {"path": [f"videos/{i:08d}.mp4" for i in numbers.tolist()], "label": numbers % 400}
    )
    read_manifest(path)
    before = private_bytes()
    begin = time.perf_counter()
    manifest = read_manifest(path)
    assert time.perf_counter() - begin < 5
    draws = random.Random(0)
    for _ in range(10_000):
        i = draws.randrange(rows)
        assert manifest.row(i).path.name == f"{i:08d}.mp4"
    assert private_bytes() - before < 20e6


def private_bytes() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Anonymous:",)))


@pytest.mark.parametrize("fewest", [1, 10**9])
def test_a_path_that_would_fill_the_memory_is_refused_before_it_is_read(tmp_path, monkeypatch, fewest):
    monkeypatch.setattr(manifest_cache, "FEWEST", fewest)
    once = pa.array([0] * 60_000, pa.int32())
    path = write(tmp_path, {"path": pa.DictionaryArray.from_arrays(once, ["x" * 5_000 + ".mp4"])})
    with pytest.raises(ManifestError, match=r"list.parquet: the table of 60,000 rows would take 300,240,000"):
        read_manifest(path)


def not_utf8(texts: list[bytes]) -> pa.Array:
    """A column of text whose bytes nobody has checked."""
    return pa.Array.from_buffers(pa.string(), len(texts), pa.array(texts).buffers())


@pytest.mark.parametrize("fewest", [1, 10**9])
@pytest.mark.parametrize("name", ["path", "label_name", "shard", "digest"])
def test_text_that_is_not_utf8_is_named_when_the_manifest_is_read(
    tmp_path, monkeypatch, mapped, fewest, name
):
    monkeypatch.setattr(manifest_cache, "FEWEST", fewest)
    rows = {"path": ["a.mp4"] * 600, "label": [0] * 600, **SHARDS}
    path = write(tmp_path, rows | {name: not_utf8([b"a"] * 150 + [b"\xff"] + [b"a"] * 449)})
    words = rf"list\.parquet, row 150 \(counted from 0\): {name} is not UTF-8; write it anew"
    with pytest.raises(ManifestError, match=words):
        read_manifest(path)
    write(tmp_path, rows | {name: not_utf8([b"a"] * 600).dictionary_encode()})
    read_manifest(path)


@pytest.mark.parametrize("fewest", [1, 10**9])
def test_names_of_classes_that_are_bytes_are_checked_too(tmp_path, monkeypatch, fewest):
    monkeypatch.setattr(manifest_cache, "FEWEST", fewest)
    path = write(tmp_path, {"path": ["a.mp4"], "label": [0], "label_name": [b"\xff"]})
    with pytest.raises(ManifestError, match=r"list\.parquet, row 0 .*label_name is not UTF-8"):
        read_manifest(path)


@pytest.mark.parametrize("fewest", [1, 10**9])
def test_a_column_of_the_users_own_may_hold_bytes(tmp_path, monkeypatch, fewest):
    monkeypatch.setattr(manifest_cache, "FEWEST", fewest)
    path = write(tmp_path, {"path": ["a.mp4"], "digest": [b"\xff"], "said": not_utf8([b"\xff"])})
    assert len(read_manifest(path)) == 1
