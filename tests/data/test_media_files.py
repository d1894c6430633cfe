"""A folder is all the videos in and below it, once each; what is left out is counted."""

import gzip
import os
from pathlib import Path

import pytest

from tests.videos import even_times, write_video
from vjepa.data.decode import open_video
from vjepa.data.manifest import read_manifest
from vjepa.data.manifest_error import ManifestError
from vjepa.data.media_files import IMAGE_SUFFIXES, VIDEO_SUFFIXES


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def paths(folder: Path) -> list[str]:
    return read_manifest(folder).table["path"].to_pylist()


@pytest.mark.parametrize("ending", ["MTS", "m2ts", "vob", "asf", "divx", "mxf", "y4m", "3gp", "ogv", "Rm"])
def test_every_ending_of_a_video_is_found(tmp_path, ending):
    touch(tmp_path, f"a.{ending}")
    assert paths(tmp_path) == [f"a.{ending}"]
    assert paths(tmp_path / f"a.{ending}") == [f"a.{ending}"]


def test_no_ending_is_that_of_sound_of_text_or_of_an_image():
    sound = {".mp3", ".wav", ".aac", ".flac", ".m4a", ".ogg", ".mka", ".txt", ".srt", ".vtt", ".ass", ".sub"}
    assert not set(VIDEO_SUFFIXES) & (sound | set(IMAGE_SUFFIXES))
    assert len(set(VIDEO_SUFFIXES)) == len(VIDEO_SUFFIXES)


def test_what_is_left_out_is_counted_in_one_line(tmp_path, capsys):
    touch(
        tmp_path, "a.mp4", "b.MTS", "1.jpg", "2.jpg", "sub/3.JPG", "notes.txt", "._a.mp4", ".cache/x.mp4", "x"
    )
    os.symlink("nowhere.mp4", tmp_path / "gone.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    assert paths(tmp_path) == ["a.mp4", "b.MTS"]
    (note,) = capsys.readouterr().err.splitlines()
    left_out = "3 .jpg, 2 hidden, 1 .txt, 1 broken link, 1 no file, 1 without an ending"
    assert note.startswith(f"note: {tmp_path}: 2 videos; left out: 3 .jpg, 2 hidden, 1 ")
    assert sorted(note.partition("left out: ")[2].split(", ")) == sorted(left_out.split(", "))


def test_nothing_is_said_where_nothing_is_left_out(tmp_path, capsys):
    touch(tmp_path, "a.mp4", "b/c.avi")
    assert len(read_manifest(tmp_path)) == 2 and capsys.readouterr().err == ""


def test_a_folder_without_videos_says_what_is_there(tmp_path):
    touch(tmp_path, "a.mp3", "b.mp3", "c")
    with pytest.raises(
        ManifestError, match=r"looked for \.mp4 .*; there are only 2 \.mp3, 1 without an ending"
    ):
        read_manifest(tmp_path)


def test_linked_folders_are_followed_and_read_once(tmp_path):
    touch(tmp_path, "store/deep/a.mp4", "data/own/b.mp4")
    data = tmp_path / "data"
    os.symlink("../store", data / "class1")
    os.symlink("../store", data / "class2")
    os.symlink("own", data / "again")  # a folder of the same tree
    os.symlink("../..", data / "own" / "up")  # a loop
    assert paths(data) == ["class1/deep/a.mp4", "own/b.mp4"]
    assert paths(tmp_path) == ["data/own/b.mp4", "store/deep/a.mp4"]


def test_a_link_to_itself_is_a_broken_link(tmp_path, capsys):
    touch(tmp_path, "sub/a.mp4")
    for link, target in (("self", "self"), ("one.mp4", "two.mp4"), ("two.mp4", "one.mp4"), ("sub/x", "x")):
        os.symlink(target, tmp_path / link)
    assert paths(tmp_path) == ["sub/a.mp4"]
    assert capsys.readouterr().err == f"note: {tmp_path}: 1 video; left out: 4 broken link\n"


@pytest.mark.parametrize("name", ["list.csv.gz", "list.xlsx", "list.zip", "list.csv"])
def test_what_has_to_be_unpacked_is_no_video(tmp_path, name):
    packed = gzip.compress(b"a.mp4 0\n") if name.endswith("gz") else b"PK\x03\x04\x14\0\6\0" + bytes(100)
    (tmp_path / name).write_bytes(packed)
    with pytest.raises(
        ManifestError, match=rf"{name}: a spreadsheet or a compressed file; .* unpack any other"
    ):
        read_manifest(tmp_path / name)


def test_a_single_video_of_whatever_ending_is_a_manifest_of_one_row(tmp_path):
    video = write_video(tmp_path / "a.mp4", even_times(5)) or tmp_path / "a.mp4"
    for name in ("clip", "clip.xyz", "CLIP.MTS"):
        (tmp_path / name).write_bytes(Path(video).read_bytes())
        row = read_manifest(tmp_path / name).row(0)
        with open_video(row.path) as opened:
            assert opened.width > 0
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(ManifestError, match=r"a folder, a video, or ends in \.csv, .*, not in '\.json'"):
        read_manifest(tmp_path / "list.json")
