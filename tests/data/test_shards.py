"""Videos in shards are the videos of the manifest, to the bit; a shard that is not what it was is named."""

import io
import json
import tarfile
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.videos import even_times, write_picture, write_video
from vjepa.data import shards
from vjepa.data.check import check_manifest
from vjepa.data.clip_data import ClipData, Source
from vjepa.data.clips import ClipConfig, TrainingClips
from vjepa.data.decode import open_video
from vjepa.data.decode_error import DecodeError
from vjepa.data.digest import manifest_digest
from vjepa.data.manifest import Row, read_manifest, read_manifests
from vjepa.data.shard_files import append
from vjepa.data.shards import pack_shards
from vjepa.data.storage import StorageConfig
from vjepa.data.stored import Stored
from vjepa.errors import UserError
from vjepa.features.video_rows import manifest_of, rows_of

TIMES = np.linspace(0, 0.9, 7)
NAMES = [
    "a.mp4",
    "b.mkv",
    "c.mov",
    "d.webm",
    "e.ts",
    "f.flv",
    "g.gif",
    "h.png",
    "i.jpg",
    "j.WEBP",
    "k.avi",
    "l.mpg",
]
CODECS = {"webm": "libvpx", "gif": "gif", "flv": "flv", "avi": "mpeg4", "mpg": "mpeg2video"}


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Videos and images of many kinds, and a list with two rows of each."""
    folder = tmp_path_factory.mktemp("videos")
    for number, name in enumerate(NAMES):
        ending = name.rpartition(".")[2].lower()
        if ending in ("png", "jpg", "webp"):
            write_picture(
                folder / name, number, {"jpg": "mjpeg", "webp": "libwebp"}.get(ending, "png"), pix_fmt(ending)
            )
        else:
            codec = CODECS.get(ending, "libx264")
            clock = {"avi": 30, "mpg": 30}.get(ending, 90_000)
            pix = "rgb8" if ending == "gif" else "yuv420p"
            write_video(folder / name, even_times(30), codec, pix, ticks=clock)
    rows = "".join(f"{name},{i % 3},,\n{name},{i % 3},0.2,0.9\n" for i, name in enumerate(NAMES))
    (folder / "list.csv").write_text("path,label,start,end\n" + rows)
    return folder


def pix_fmt(ending: str) -> str:
    return {"jpg": "yuvj420p", "webp": "yuv420p"}.get(ending, "rgb24")


@pytest.fixture(scope="module")
def packed(videos, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("shards")
    pack_shards(videos / "list.csv", out=str(out), size=30_000)
    return out / "index.parquet"


def frames(path) -> np.ndarray:
    with open_video(path) as video:
        return video.frames(TIMES if np.isfinite(video.end) else [0.0])


def test_every_row_is_the_same_to_the_bit(videos, packed):
    files = read_manifest(videos / "list.csv")
    members = read_manifest(packed)
    assert len(files) == len(members) == 2 * len(NAMES)
    assert manifest_digest(files)[1:] == manifest_digest(members)[1:]
    for i in range(len(files)):
        one, other = files.row(i), members.row(i)
        assert (one.label, one.start, one.end) == (other.label, other.start, other.end)
        assert str(other.path).endswith(f".tar: {one.path.name}")
        np.testing.assert_array_equal(frames(one.path), frames(other.path))


def test_a_run_draws_the_same_clips(videos, packed):
    clip = ClipConfig(frames=4, fps=8.0, size=32, short="hold")
    files, members = (
        TrainingClips([read_manifest(path)], [1.0], clip, seed=1) for path in (videos / "list.csv", packed)
    )
    for k in range(10):
        np.testing.assert_array_equal(files[k].clip, members[k].clip)
    data = [ClipData([Source(str(path))], clip=clip) for path in (videos / "list.csv", packed)]
    assert data[0].trained_on() == data[1].trained_on()


def test_the_tar_files_are_plain_and_of_webdataset(videos, packed):
    found = {}
    for shard in sorted(packed.parent.glob("*.tar")):
        with tarfile.open(shard) as tar:
            names = tar.getnames()
            # What belongs together stands together, under one key.
            keys = [name.partition(".")[0] for name in names]
            assert keys == sorted(keys)
            found |= {name: tar.extractfile(name).read() for name in names}
    for number, name in enumerate(NAMES):
        key = f"{number:09d}"
        ending = name.rpartition(".")[2].lower()
        assert found[f"{key}.{ending}"] == (videos / name).read_bytes()
        notes = json.loads(found[f"{key}.json"])
        assert notes["path"] == name and notes["rows"][1] == {"label": number % 3, "start": 0.2, "end": 0.9}
        assert found[f"{key}.cls"] == str(number % 3).encode()


def test_the_webdataset_package_reads_them(packed):
    webdataset = pytest.importorskip("webdataset")
    urls = [str(path) for path in sorted(packed.parent.glob("*.tar"))]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode())
    assert [sample["json"]["path"] for sample in samples] == NAMES
    assert [sample["cls"] for sample in samples] == [i % 3 for i in range(len(NAMES))]


def test_the_same_rows_give_the_same_bytes(videos, packed, tmp_path):
    pack_shards(videos / "list.csv", out=str(tmp_path), size=30_000)
    for path in sorted(packed.parent.iterdir()):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_data_check_works(packed, capsys):
    check_manifest(packed, workers=1)
    assert f"{2 * len(NAMES)} ok, 0 bad" in capsys.readouterr().out


def test_shards_can_be_packed_anew(packed, tmp_path):
    pack_shards(packed, out=str(tmp_path), size=10**9)
    one, other = read_manifest(packed), read_manifest(tmp_path / "index.parquet")
    assert {other.row(i).path.address for i in range(len(other))} == {str(tmp_path / "000000.tar")}
    assert manifest_digest(one)[1:] == manifest_digest(other)[1:]


def test_names_of_classes_stay(videos, tmp_path):
    (tmp_path / "named.csv").write_text(f"path,label\n{videos}/a.mp4,swim\n{videos}/b.mkv,run\n")
    (tmp_path / "labels.json").write_text('{"swim": 0, "run": 1}')
    pack_shards(tmp_path / "named.csv", out=str(tmp_path / "out"))
    listed, index = read_manifests([tmp_path / "named.csv", tmp_path / "out/index.parquet"])
    assert index.classes == listed.classes == {"swim": 0, "run": 1}
    assert index.labels.tolist() == [0, 1]


def lists(videos: Path, rows: str, tmp_path: Path) -> Path:
    (tmp_path / "list.csv").write_text("path,label,start,end\n" + rows.format(videos))
    return tmp_path / "list.csv"


REFUSED = {
    "a row twice": (
        "{0}/a.mp4,0,,\n{0}/b.mkv,0,,\n{0}/a.mp4,1,,\n",
        r"list\.csv: line 4 shows the same as line 2, .*a\.mp4",
    ),
    "a missing video": (
        "{0}/a.mp4,0,,\n{0}/none.mp4,0,,\n",
        r"list\.csv: 1 of 2 videos cannot be read; the first is .*none\.mp4 \(line 3\): No such file",
    ),
    "a folder": ("{0},0,,\n", r"\(line 2\): no file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_packed_is_one_sentence_and_leaves_nothing(videos, tmp_path, case):
    rows, words = REFUSED[case]
    with pytest.raises(UserError, match=words):
        pack_shards(lists(videos, rows, tmp_path), out=str(tmp_path / "out"))
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("ending", ["x" * 95, "Película", "é", "dvr-ms", "cls", "mp4"])
def test_a_name_in_a_shard_is_short_whatever_the_ending(videos, tmp_path, ending):
    path = tmp_path / f"What he did. An end.{ending}"
    path.write_bytes((videos / "a.mp4").read_bytes())
    rows = "{0}/a.mp4,0,,\n" + f"{path},0,,\n" + "{0}/b.mkv,0,,\n"
    pack_shards(lists(videos, rows, tmp_path), out=str(tmp_path / "out"))
    known = f".{ending}" if ending == "dvr-ms" else ".mp4"
    with tarfile.open(tmp_path / "out/000000.tar") as tar:
        names = [name for name in tar.getnames() if not name.endswith((".json", ".cls"))]
    assert names == ["000000000.mp4", f"000000001{known}", "000000002.mkv"]
    index = read_manifest(tmp_path / "out/index.parquet")
    for i, source in enumerate([videos / "a.mp4", videos / "a.mp4", videos / "b.mkv"]):
        np.testing.assert_array_equal(frames(index.row(i).path), frames(source))


def test_a_header_that_has_no_room_never_damages_a_shard():
    with pytest.raises(AssertionError, match="need more than one header"):
        append(io.BytesIO(), "x" * 101, io.BytesIO(b"a"))


def test_a_nul_in_a_path_is_one_sentence_with_its_row(videos, tmp_path):
    paths = [str(videos / "a.mp4"), str(videos / "b\0.mp4")]
    pa.parquet.write_table(pa.table({"path": paths, "label": [0, 0]}), tmp_path / "list.parquet")
    with pytest.raises(
        UserError, match=r"b\\x00\.mp4 \(row 1.*\): a NUL character in its path; correct the row"
    ):
        pack_shards(tmp_path / "list.parquet", out=str(tmp_path / "out"))


def test_shards_are_not_packed_over_others(videos, packed):
    with pytest.raises(UserError, match="holds shards already; choose another --out"):
        pack_shards(videos / "list.csv", out=str(packed.parent))


def test_a_packing_that_is_killed_leaves_no_index_and_goes_on(videos, packed, tmp_path, monkeypatch):
    written = []
    write = shards.write_shard

    def killed(target, members):
        if len(written) == 2:
            target.write_bytes(b"half of it")
            raise KeyboardInterrupt
        written.append(target)
        return write(target, members)

    monkeypatch.setattr(shards, "write_shard", killed)
    with pytest.raises(KeyboardInterrupt):
        pack_shards(videos / "list.csv", out=str(tmp_path), size=30_000)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "000000.part",
        "000000.tar",
        "000001.part",
        "000001.tar",
    ]
    (tmp_path / "000001.tar").write_bytes(b"")  # a shard that is not what its part says is packed again
    written.clear()
    monkeypatch.setattr(
        shards, "write_shard", lambda target, members: (written.append(target), write(target, members))[1]
    )
    pack_shards(videos / "list.csv", out=str(tmp_path), size=30_000)
    assert len(written) == len(list(packed.parent.glob("*.tar"))) - 1
    for path in packed.parent.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
    assert not list(tmp_path.glob("*.part"))


def test_a_video_that_changed_since_is_packed_again(videos, tmp_path):
    video = tmp_path / "a.mp4"
    video.write_bytes((videos / "a.mp4").read_bytes())
    folder = shards.ShardFolder(str(tmp_path / "out"))
    manifest = read_manifest(tmp_path)
    first = next(shards.parts(manifest, shards.planned(manifest, 10**9), folder))
    write_video(video, even_times(25))
    again = next(shards.parts(manifest, shards.planned(manifest, 10**9), folder))
    assert first["digest"] != again["digest"]


def tampered(packed: Path, tmp_path: Path) -> Path:
    for path in packed.parent.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def remove(shard: Path) -> None:
    shard.unlink()


def cut(shard: Path) -> None:
    shard.write_bytes(shard.read_bytes()[:1000])


def exchange(shard: Path) -> None:
    """The same members in another order, as if other videos had been packed."""
    with tarfile.open(shard) as tar:
        members = [(info, tar.extractfile(info).read()) for info in tar.getmembers()]
    with tarfile.open(shard, "w") as tar:
        for info, content in reversed(members):
            info.uname = ""
            tar.addfile(info, io.BytesIO(content))


def empty(shard: Path) -> None:
    shard.write_bytes(bytes(len(shard.read_bytes())))


@pytest.mark.parametrize(
    "damage, words",
    [(remove, "No such file"), (cut, "cut off"), (exchange, "another file"), (empty, "another file")],
)
def test_a_shard_that_is_not_what_it_was_is_a_bad_file_and_never_wrong_frames(
    packed, tmp_path, damage, words
):
    folder = tampered(packed, tmp_path)
    damage(folder / "000000.tar")
    manifest = read_manifest(folder / "index.parquet")
    with pytest.raises(DecodeError, match=words) as error:
        frames(manifest.row(0).path)
    assert str(error.value).startswith(f"cannot decode {folder}/000000.tar: a.mp4: ")
    clips = TrainingClips([manifest], [1.0], ClipConfig(frames=4, fps=8.0, size=32, short="hold"), seed=0)
    samples = [clips[k] for k in range(12)]
    assert any(sample.bad for sample in samples)
    assert all("000000.tar" in reason for sample in samples for reason in sample.bad)


@pytest.mark.parametrize(
    "column, values, words",
    [
        ("offset", [-1], "row 0 .*: offset is -1; expected bytes, 0 or more"),
        ("size", [0], "row 0 .*: size is 0; expected bytes, 1 or more"),
        ("size", [None], "row 0 .*: size is None"),
        ("shard", [""], "row 0 .*: shard is empty"),
        ("offset", ["x"], "row 0 .*: offset is 'x'; expected a whole number"),
    ],
)
def test_a_damaged_index_is_one_sentence(tmp_path, column, values, words):
    columns = {"path": ["a.mp4"], "shard": ["0.tar"], "offset": [512], "size": [10], column: values}
    pa.parquet.write_table(pa.table(columns), tmp_path / "index.parquet")
    with pytest.raises(UserError, match=words):
        read_manifest(tmp_path / "index.parquet")


@pytest.mark.parametrize("offset", [0, 511])
@pytest.mark.parametrize("shard", ["000000.tar", "memory://early/000000.tar"])
def test_a_member_that_leaves_no_room_for_its_header_is_one_sentence(packed, tmp_path, shard, offset):
    folder = tampered(packed, tmp_path)
    fsspec.filesystem("memory").pipe("/early/000000.tar", (folder / "000000.tar").read_bytes())
    table = pa.parquet.read_table(folder / "index.parquet").slice(0, 1)
    for name, value in {"shard": shard, "offset": offset}.items():
        table = table.set_column(table.column_names.index(name), name, pa.array([value]))
    pa.parquet.write_table(table, folder / "index.parquet")
    row = read_manifest(folder / "index.parquet", storage=StorageConfig(str(tmp_path / "cache"))).row(0)
    with pytest.raises(DecodeError, match=rf"the index says that it begins at byte {offset} of the shard"):
        open_video(row.path)


def test_a_column_of_sizes_alone_is_no_index(videos, tmp_path):
    columns = {"path": [str(videos / "a.mp4")], "size": ["large"], "offset": ["none"]}
    pa.parquet.write_table(pa.table(columns), tmp_path / "list.parquet")
    assert read_manifest(tmp_path / "list.parquet").row(0).path == videos / "a.mp4"


def test_an_index_without_digests_is_read_too(packed, tmp_path):
    folder = tampered(packed, tmp_path)
    table = pa.parquet.read_table(folder / "index.parquet").drop_columns(["digest"])
    pa.parquet.write_table(table, folder / "index.parquet")
    assert frames(read_manifest(folder / "index.parquet").row(0).path).any()


def test_local_shards_take_no_copy(packed, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    frames(read_manifest(packed).row(0).path)
    assert list(tmp_path.iterdir()) == []


def test_rows_of_several_manifests_stay_what_they_are(videos, packed):
    """As for `vjepa predict`, which is given videos, lists and shards together."""
    rows = rows_of([videos / "a.mp4", packed])
    together = manifest_of([*rows, Row(Stored("s3://clips/a.mp4"), None, None, None)])
    assert together.row(0).path == videos / "a.mp4"
    assert str(together.row(len(rows)).path) == "s3://clips/a.mp4"
    for i in range(1, len(rows)):
        assert together.row(i).path == rows[i].path and together.row(i).path.digest


REMOTE = "s3://clips/shards"


@pytest.fixture
def remote(bucket, videos):
    """Shards in a storage, and how they are read."""
    pack_shards(videos / "list.csv", out=REMOTE, size=30_000)
    return bucket


def test_shards_in_a_storage_are_those_on_disk(remote, packed, tmp_path):
    for path in packed.parent.iterdir():
        assert remote.cat_file(f"clips/shards/{path.name}") == path.read_bytes()
    config = StorageConfig(str(tmp_path / "cache"))
    here = read_manifest(packed)
    there = read_manifest(f"{REMOTE}/index.parquet", storage=config)
    assert manifest_digest(here)[1:] == manifest_digest(there)[1:]
    for i in range(len(here)):
        np.testing.assert_array_equal(frames(here.row(i).path), frames(there.row(i).path))
    # Only members were fetched, each once, and no shard as a whole.
    kept = [path.stat().st_size for path in (config.folder / "media").iterdir()]
    assert len(kept) == len(NAMES) and sum(kept) == sum(set(here.table["size"].to_pylist()))


def test_members_are_read_by_ranges_without_a_cache(remote, packed):
    here = read_manifest(packed)
    there = read_manifest(f"{REMOTE}/index.parquet", storage=StorageConfig(cache_gb=0))
    np.testing.assert_array_equal(frames(there.row(2).path), frames(here.row(2).path))


def test_a_remote_packing_goes_on_and_is_not_packed_over(remote, videos):
    with pytest.raises(UserError, match="holds shards already"):
        pack_shards(videos / "list.csv", out=REMOTE)
    with pytest.raises(UserError, match=r"--out s3://nowhere/x: there is no s3://nowhere"):
        pack_shards(videos / "list.csv", out="s3://nowhere/x")


def other_shard(remote) -> None:
    """Another packing of the same members, in other places."""
    content = remote.cat_file("clips/shards/000000.tar")
    remote.pipe("clips/shards/000000.tar", bytes(512) + content[:-512])


def same_header(remote) -> None:
    """The same headers, and one byte of a video that differs."""
    content = bytearray(remote.cat_file("clips/shards/000000.tar"))
    content[512 + 100] ^= 1
    remote.pipe("clips/shards/000000.tar", bytes(content))


REMOTE_DAMAGES = {
    "vanished": (lambda remote: remote.rm_file("clips/shards/000000.tar"), "no such file"),
    "cut off": (
        lambda remote: remote.pipe(
            "clips/shards/000000.tar", remote.cat_file("clips/shards/000000.tar", end=900)
        ),
        "cut off: bytes 512 to",
    ),
    "empty": (lambda remote: remote.pipe("clips/shards/000000.tar", b""), "tried 1 time"),
    "another": (other_shard, "another file"),
    "another content": (same_header, "another file"),
}


@pytest.mark.parametrize("case", REMOTE_DAMAGES)
@pytest.mark.parametrize("cache_gb", [1.0, 0.0])
def test_a_remote_shard_that_is_not_what_it_was_is_a_bad_file(remote, tmp_path, case, cache_gb):
    config = StorageConfig(str(tmp_path / "cache"), cache_gb, retries=0)
    manifest = read_manifest(f"{REMOTE}/index.parquet", storage=config)
    damage, words = REMOTE_DAMAGES[case]
    damage(remote)
    with pytest.raises(DecodeError, match=words) as error:
        frames(manifest.row(0).path)
    assert str(error.value).startswith(f"cannot decode {REMOTE}/000000.tar: a.mp4: ")
