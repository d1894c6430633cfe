"""Videos in an object storage give the frames of the same files on disk; every fault ends in one sentence."""

import os
import time
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from scripts.object_store import cuts_off, says, waits
from tests.videos import even_times, write_picture, write_video
from vjepa.data import file_cache
from vjepa.data.clip_data import ClipData, Source
from vjepa.data.clips import ClipConfig, TrainingClips, load_frames
from vjepa.data.decode import open_video
from vjepa.data.decode_error import DecodeError
from vjepa.data.digest import manifest_digest
from vjepa.data.manifest import read_manifest, read_manifests
from vjepa.data.manifest_error import ManifestError
from vjepa.data.module import too_many_bad
from vjepa.data.storage import StorageConfig, StorageError, read_range, status
from vjepa.data.stored import Stored

CLIP = ClipConfig(frames=4, fps=8.0, size=32)
TIMES = np.linspace(0, 0.9, 7)


@pytest.fixture
def config(tmp_path):
    return StorageConfig(cache=str(tmp_path / "cache"), retries=2, timeout=5)


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for number in range(4):
        write_video(folder / f"v{number}.mp4", even_times(30 + number))
    write_video(folder / "m.mkv", even_times(30))
    write_video(folder / "t.ts", even_times(30))
    write_picture(folder / "p.png", 5)
    names = ["v0.mp4", "v1.mp4", "v2.mp4", "v3.mp4", "m.mkv", "t.ts"]
    (folder / "list.csv").write_text(
        "path,label,start,end\n" + "".join(f"{name},{i % 2},,\n" for i, name in enumerate(names))
    )
    return folder


def upload(fs, videos: Path) -> None:
    for path in videos.iterdir():
        fs.put_file(str(path), f"clips/set/{path.name}")


def frames(path) -> np.ndarray:
    with open_video(path) as video:
        return video.frames(TIMES)


def test_rows_in_a_storage_are_the_rows_on_disk(bucket, videos, config):
    upload(bucket, videos)
    here = read_manifest(videos / "list.csv")
    there = read_manifest("s3://clips/set/list.csv", storage=config)
    assert manifest_digest(here)[1:] == manifest_digest(there)[1:]
    assert manifest_digest(there).source == "s3://clips/set/list.csv"
    for i in range(len(here)):
        row = there.row(i)
        assert str(row.path) == f"s3://clips/set/{here.row(i).path.name}"
        assert (row.label, row.start, row.end) == (here.row(i).label, None, None)
        np.testing.assert_array_equal(frames(row.path), frames(here.row(i).path))


@pytest.mark.parametrize("cache_gb", [1.0, 0.0])
@pytest.mark.parametrize("name", ["v0.mp4", "m.mkv", "t.ts", "p.png"])
def test_frames_are_the_same_from_the_cache_and_by_ranges(
    bucket, videos, config, name, cache_gb, monkeypatch
):
    monkeypatch.setattr("vjepa.data.byte_files.BLOCK", 700)
    upload(bucket, videos)
    media = Stored(f"s3://clips/set/{name}", config=StorageConfig(config.cache, cache_gb))
    for _ in range(2):
        np.testing.assert_array_equal(frames(media), frames(videos / name))
    kept = list((config.folder / "media").iterdir()) if (config.folder / "media").exists() else []
    assert len(kept) == bool(cache_gb)


def test_a_folder_a_video_and_a_parquet_file_at_an_address_are_manifests(bucket, videos, config, tmp_path):
    upload(bucket, videos)
    listed = read_manifest("s3://clips/set/", storage=config)
    assert listed.table["path"].to_pylist() == ["m.mkv", "t.ts", "v0.mp4", "v1.mp4", "v2.mp4", "v3.mp4"]
    single = read_manifest("s3://clips/set/p.png", storage=config)
    np.testing.assert_array_equal(frames(single.row(0).path), frames(videos / "p.png"))
    # Whole addresses and paths on disk may stand in one list.
    paths = ["s3://clips/set/v0.mp4", str(videos / "v1.mp4")]
    pa.parquet.write_table(pa.table({"path": paths}), tmp_path / "mixed.parquet")
    mixed = read_manifest(tmp_path / "mixed.parquet", storage=config)
    assert [type(mixed.row(i).path) for i in range(2)] == [Stored, type(videos)]


def test_names_of_classes_have_the_numbers_of_the_map_beside_them(bucket, videos, config):
    upload(bucket, videos)
    bucket.pipe("clips/set/named.csv", b"path,label\nv0.mp4,swim\nv1.mp4,run\n")
    first = read_manifest("s3://clips/set/named.csv", storage=config)
    assert first.labels.tolist() == [1, 0]
    bucket.pipe("clips/set/named.csv.labels.json", b'{"swim": 0, "run": 1}')
    assert read_manifest("s3://clips/set/named.csv", storage=config).labels.tolist() == [0, 1]
    # A list that was written anew is read anew.
    bucket.pipe("clips/set/named.csv", b"path,label\nv2.mp4,run\n")
    assert read_manifest("s3://clips/set/named.csv", storage=config).labels.tolist() == [1]


def test_two_forked_workers_give_the_batches_of_the_disk(bucket, videos, config):
    upload(bucket, videos)
    local = TrainingClips([read_manifest(videos / "list.csv")], [1.0], CLIP, seed=3)
    # The main process has connections of its own when the workers are forked.
    remote = TrainingClips([read_manifest("s3://clips/set/list.csv", storage=config)], [1.0], CLIP, seed=3)
    from torch.utils.data import DataLoader

    loader = DataLoader(
        remote, sampler=range(12), num_workers=2, batch_size=None, multiprocessing_context="fork"
    )
    for k, sample in enumerate(loader):
        assert sample.bad == [] and sample.index == k
        np.testing.assert_array_equal(sample.clip, local[k].clip)


FAULTS = {
    "errors of the server": (says("500 Internal Server Error", "InternalError"), "tried 3 times"),
    "a busy server": (says("503 Service Unavailable", "SlowDown"), "tried 3 times"),
    "wrong keys": (says("403 Forbidden", "InvalidAccessKeyId"), "access denied"),
    "a slow server": (waits(3), "no answer within 0.5 s (tried 3 times)"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_one_bad_file_with_a_name_and_in_bounded_time(bucket, store, videos, config, case):
    upload(bucket, videos)
    fault, words = FAULTS[case]
    quick = StorageConfig(config.cache, retries=2, timeout=0.5)
    begin = time.monotonic()
    with store.faulty(fault), pytest.raises(DecodeError) as error:
        frames(Stored("s3://clips/set/v0.mp4", config=quick))
    assert time.monotonic() - begin < 6
    assert str(error.value).startswith("cannot decode s3://clips/set/v0.mp4: ") and words in str(error.value)
    assert not list((config.folder / "media").glob("*")) if (config.folder / "media").exists() else True
    np.testing.assert_array_equal(
        frames(Stored("s3://clips/set/v0.mp4", config=quick)), frames(videos / "v0.mp4")
    )


@pytest.mark.parametrize("status", ["500 Internal Server Error", "503 Service Unavailable"])
def test_a_fault_that_passes_is_not_seen(bucket, store, videos, config, status):
    upload(bucket, videos)
    with store.faulty(says(status, "SlowDown", times=2, path="v1.mp4")):
        np.testing.assert_array_equal(
            frames(Stored("s3://clips/set/v1.mp4", config=config)), frames(videos / "v1.mp4")
        )


def test_what_is_cut_off_on_the_way_is_no_video(bucket, store, videos, config):
    upload(bucket, videos)
    quick = StorageConfig(config.cache, retries=1, timeout=1)
    with store.faulty(cuts_off(store, "v1.mp4")), pytest.raises(DecodeError, match=r"v1\.mp4"):
        frames(Stored("s3://clips/set/v1.mp4", config=quick))
    np.testing.assert_array_equal(
        frames(Stored("s3://clips/set/v1.mp4", config=quick)), frames(videos / "v1.mp4")
    )


def test_a_missing_object_is_replaced_and_named_like_a_missing_file(bucket, videos, config):
    upload(bucket, videos)
    manifest = read_manifest("s3://clips/set/list.csv", storage=config)
    bucket.rm_file("clips/set/v2.mp4")
    clips = TrainingClips([manifest], [1.0], CLIP, seed=0)
    bad = [reason for k in range(12) for reason in clips[k].bad]
    assert set(bad) == {"cannot decode s3://clips/set/v2.mp4: no such file in the storage"}
    assert too_many_bad(len(bad), 12, 0.0)


def test_an_object_that_was_written_anew_is_read_anew(bucket, videos, config):
    upload(bucket, videos)
    media = Stored("s3://clips/set/v0.mp4", config=config)
    frames(media)
    bucket.put_file(str(videos / "v3.mp4"), "clips/set/v0.mp4")
    with open_video(media) as video:
        assert video.end == pytest.approx(33 / 30)


AT_THE_START = {
    "wrong keys": (says("403 Forbidden", "InvalidAccessKeyId"), "s3://clips/set/list.csv", "access denied"),
    "an error": (
        says("500 Internal Server Error", "InternalError"),
        "s3://clips/set/list.csv",
        "tried 2 times",
    ),
    "no bucket": (None, "s3://nowhere/list.csv", "no such file"),
    "no list": (None, "s3://clips/set/none.csv", "no such file"),
    "an empty folder": (None, "s3://clips/nothing/", "no videos there or below"),
    "an unknown protocol": (None, "nas://clips/list.csv", "nas:// is no storage that is known here"),
}


@pytest.mark.parametrize("case", AT_THE_START)
def test_a_manifest_that_cannot_be_reached_is_one_sentence(bucket, store, videos, config, case):
    upload(bucket, videos)
    fault, address, words = AT_THE_START[case]
    quick = StorageConfig(config.cache, retries=1, timeout=2)
    with store.faulty(fault), pytest.raises(ManifestError) as error:
        read_manifest(address, storage=quick)
    assert address in str(error.value) and words in str(error.value) and "\n" not in str(error.value)


def test_rows_whose_bucket_cannot_be_reached_are_one_sentence(bucket, store, config, tmp_path):
    (tmp_path / "list.csv").write_text("path,label\ns3://nowhere/a.mp4,0\n")
    with pytest.raises(
        ManifestError, match=r"list\.csv, first row: s3://nowhere/a\.mp4: there is no s3://nowhere"
    ):
        read_manifest(tmp_path / "list.csv", storage=config)
    # A file that is missing in a bucket that is there stops nothing.
    (tmp_path / "list.csv").write_text("path,label\ns3://clips/none.mp4,0\n")
    assert len(read_manifest(tmp_path / "list.csv", storage=config)) == 1


def test_a_server_that_is_gone_is_one_sentence_at_once(bucket, config, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    gone = StorageConfig(str(tmp_path / "other"), retries=1, timeout=2.5)
    begin = time.monotonic()
    with pytest.raises(ManifestError, match=r"s3://clips/list\.csv: Could not connect .* \(tried 2 times\)"):
        read_manifest("s3://clips/list.csv", storage=gone)
    assert time.monotonic() - begin < 6


def test_a_mistake_in_a_list_names_its_address(bucket, config):
    bucket.pipe("clips/bad.csv", b"path,label\na.mp4,0\nb.mp4,x1\n")
    with pytest.raises(ManifestError, match=r"^s3://clips/bad\.csv, line 3: label is 'x1'"):
        read_manifest("s3://clips/bad.csv", storage=config)


def test_the_cache_holds_no_more_than_it_may(bucket, config, monkeypatch):
    small = StorageConfig(config.cache, cache_gb=1e-5)  # 10,000 bytes
    for number in range(12):
        bucket.pipe(f"clips/{number}.bin", bytes([number]) * 3000)
    most = 0
    for number in [0, 1, 2, 0, 3, 0, 4, 0, 5, 0, 6]:
        with Stored(f"s3://clips/{number}.bin", config=small).opened() as media, media.open() as file:
            assert file.read() == bytes([number]) * 3000
        most = max(most, sum(state.st_size for _, state in file_cache.files_in(small.folder / "media")))
    assert 3000 <= most <= 10_000
    # What is used again and again stays.
    held = [path.read_bytes()[0] for path, _ in file_cache.files_in(small.folder / "media")]
    assert 0 in held


def test_a_file_larger_than_the_cache_is_read_by_ranges(bucket, config):
    small = StorageConfig(config.cache, cache_gb=1e-6)
    content = os.urandom(3000)
    bucket.pipe("clips/large.bin", content)
    with Stored("s3://clips/large.bin", config=small).opened() as media, media.open() as file:
        file.seek(1000)
        assert file.read(500) == content[1000:1500]
    assert not any((small.folder / "media").iterdir())


def test_a_file_that_is_open_is_not_removed(bucket, config):
    small = StorageConfig(config.cache, cache_gb=7e-6)
    for number in range(3):
        bucket.pipe(f"clips/{number}.bin", bytes([number]) * 3000)
    with Stored("s3://clips/0.bin", config=small).opened() as first:
        for number in (1, 2, 1, 2):
            Stored(f"s3://clips/{number}.bin", config=small).opened().close()
            total = sum(state.st_size for _, state in file_cache.files_in(small.folder / "media"))
            assert total <= 7000
        with first.open() as file:
            assert file.read() == bytes(3000)


def test_what_a_killed_process_left_is_removed(bucket, config, monkeypatch):
    folder = config.folder / "media"
    folder.mkdir(parents=True)
    (folder / ".old.bin.1").write_bytes(bytes(10))
    os.utime(folder / ".old.bin.1", (0, 0))
    (folder / ".young.bin.1").write_bytes(bytes(10))
    bucket.pipe("clips/a.bin", b"a")
    file_cache.ADDED.clear()
    Stored("s3://clips/a.bin", config=config).opened().close()
    assert {path.name for path in folder.iterdir() if path.name.startswith(".")} == {".young.bin.1"}


def test_the_cache_of_a_file_that_cannot_be_made_is_one_sentence(bucket, config, tmp_path):
    (tmp_path / "file").write_text("")
    bucket.pipe("clips/a.mp4", b"a")
    media = Stored("s3://clips/a.mp4", config=StorageConfig(str(tmp_path / "file")))
    with pytest.raises(
        DecodeError, match=r"cannot be written to \(Not a directory\); give storage.cache another"
    ):
        open_video(media)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"cache_gb": -1}, "storage.cache_gb=-1 must be 0 or more"),
        ({"retries": -1}, "storage.retries=-1 must be 0 or more"),
        ({"timeout": 0}, "storage.timeout=0 must be seconds"),
        ({"timeout": float("inf")}, "storage.timeout=inf must be seconds"),
    ],
)
def test_settings_out_of_range_are_one_sentence(settings, words):
    with pytest.raises(ValueError, match=words):
        StorageConfig(**settings)


def test_other_protocols_work_the_same_way(videos, config):
    memory = fsspec.filesystem("memory")
    memory.pipe("/set/v0.mp4", (videos / "v0.mp4").read_bytes())
    np.testing.assert_array_equal(
        frames(Stored("memory://set/v0.mp4", config=config)), frames(videos / "v0.mp4")
    )
    with pytest.raises(StorageError, match="cut off: bytes 0 to 10 are wanted"):
        memory.pipe("/set/short", b"abc")
        read_range("memory://set/short", 0, 10, config)
    with pytest.raises(StorageError, match="no such file"):
        status("memory://set/none", config)


def test_a_data_module_has_the_settings(bucket, videos, config):
    upload(bucket, videos)
    data = ClipData([Source("s3://clips/set/list.csv")], clip=CLIP, storage=config)
    assert data.training_samples()[0].bad == []
    local = ClipData([Source(str(videos / "list.csv"))], clip=CLIP)
    assert data.trained_on() == local.trained_on()
    assert read_manifests(["s3://clips/set/list.csv"], storage=config)[0].storage == config
    assert load_frames(data.train_manifests[0].row(0), CLIP, None).shape[0] == 4


@pytest.mark.parametrize(
    "address",
    [
        "ftp://host/a.mp4",
        "github://host/a.mp4",
        "zip://host/a.mp4",
        "tar://host/a.mp4",
        "reference://host/a.mp4",
        "simplecache://host/a.mp4",
        "dir://host/a.mp4",
    ],
)
def test_a_protocol_that_needs_more_than_an_address_is_one_sentence_with_the_row(config, tmp_path, address):
    (tmp_path / "list.csv").write_text(f"path,label\n{address},0\n")
    with pytest.raises(ManifestError) as error:
        read_manifest(tmp_path / "list.csv", storage=config)
    protocol = address.partition(":")[0]
    begin = f"{tmp_path}/list.csv, first row: {address}: {protocol}:// cannot be read by an address alone ("
    assert str(error.value).startswith(begin) and "download the files" in str(error.value)
    with pytest.raises(DecodeError, match="cannot be read by an address alone"):
        open_video(Stored(address, config=config))


def test_a_video_and_a_list_at_the_root_of_a_storage(bucket, videos, config):
    memory = fsspec.filesystem("memory")
    memory.pipe("/root.mp4", (videos / "v0.mp4").read_bytes())
    memory.pipe("/root.csv", b"path,label\nroot.mp4,0\n")
    for address in ("memory://root.mp4", "memory://root.csv"):
        row = read_manifest(address, storage=config).row(0)
        assert str(row.path) == "memory://root.mp4"
        np.testing.assert_array_equal(frames(row.path), frames(videos / "v0.mp4"))
    with pytest.raises(ManifestError, match=r"s3://x\.mp4"):
        read_manifest("s3://x.mp4", storage=config)


def test_odd_names_in_a_folder_stay_below_it(bucket, videos, config):
    content = (videos / "v0.mp4").read_bytes()
    names = ["/z.mp4", "s3://elsewhere/y.mp4", "a.mp4", "../x.mp4"]
    for name in names:
        bucket.pipe(f"clips/d/{name}", content)
    listed = read_manifest("s3://clips/d", storage=config)
    paths = [str(listed.row(i).path) for i in range(len(listed))]
    assert set(paths) == {f"s3://clips/d/{name}" for name in names}
    np.testing.assert_array_equal(frames(listed.row(0).path), frames(videos / "v0.mp4"))


def test_a_server_that_never_stops_sending_takes_no_memory_and_is_left(bucket, store, config):
    bucket.pipe("clips/a.bin", bytes(1000))
    sent = [0]

    def endless(request, start):
        if request["REQUEST_METHOD"] != "GET":
            return None
        start("206 Partial Content", [])

        def body():
            while sent[0] < 2000:
                sent[0] += 1
                yield bytes(2**20)

        return body()

    with store.faulty(endless), pytest.raises(StorageError, match="bytes 0 to 1000 are wanted"):
        read_range("s3://clips/a.bin", 0, 1000, config)
    assert sent[0] < 100


def test_a_request_ends_with_its_time_limit(bucket, store, config):
    bucket.pipe("clips/a.bin", bytes(1000))
    sent = [0]

    def drips(request, start):
        if request["REQUEST_METHOD"] != "GET":
            return None
        start("206 Partial Content", [])

        def body():
            while sent[0] < 1000:
                sent[0] += 1
                yield b"a"
                time.sleep(0.02)

        return body()

    quick = StorageConfig(config.cache, retries=0, timeout=0.5)
    with store.faulty(drips), pytest.raises(StorageError, match=r"no answer within 0\.5 s"):
        read_range("s3://clips/a.bin", 0, 1000, quick)
    time.sleep(0.5)
    left = sent[0]
    time.sleep(0.5)
    assert sent[0] == left


def test_two_versions_of_a_file_are_never_mixed(bucket, config, monkeypatch):
    monkeypatch.setattr("vjepa.data.byte_files.BLOCK", 1000)
    bucket.pipe("clips/a.bin", b"a" * 3000)
    ranged = StorageConfig(config.cache, cache_gb=0)
    media = [
        Stored("s3://clips/a.bin", config=ranged),
        Stored("s3://clips/a.bin", "a", 10, 2500, config=ranged),
    ]
    for stored in media:
        with stored.opened() as opened, opened.open() as file:
            assert file.read(500) == b"a" * 500
            bucket.pipe("clips/a.bin", b"b" * 3000)
            with pytest.raises(StorageError, match="it was written anew while it was read; start again"):
                file.read()
        bucket.pipe("clips/a.bin", b"a" * 3000)
