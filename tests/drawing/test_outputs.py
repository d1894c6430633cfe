"""Outputs: refused before the work, complete or not there after it."""

import errno
import os
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from vjepa.drawing import outputs
from vjepa.drawing.film import write_gif, write_mp4, write_png
from vjepa.drawing.outputs import check_outputs, complete_file, sync_folder
from vjepa.errors import UserError


def test_folders_are_made_and_nothing_is_left_in_them(tmp_path):
    check_outputs([tmp_path / "new/deep/page.html", None])
    assert list((tmp_path / "new/deep").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("folder", "is a folder"),
        ("video.mp4", "would be overwritten"),
        ("link.mp4", "would be overwritten"),
        ("pipe", "no plain file"),
        ("video.mp4/page.html", "is a file; name a folder"),
        ("twice.html", "a file of its own"),
    ],
)
def test_what_must_not_be_written_is_refused(tmp_path, name, words):
    (tmp_path / "folder").mkdir()
    (tmp_path / "video.mp4").write_bytes(b"video")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "video.mp4")
    os.mkfifo(tmp_path / "pipe")
    outputs = [tmp_path / name] + [tmp_path / "twice.html"] * (name == "twice.html")
    with pytest.raises(UserError, match=words):
        check_outputs(outputs, [tmp_path / "video.mp4"])
    assert (tmp_path / "video.mp4").read_bytes() == b"video"


def test_a_folder_that_refuses_files_is_named():
    with pytest.raises(UserError, match="/proc cannot be written to"):
        check_outputs([Path("/proc/page.html")])


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / ("n" * 240 + ".html")
    path.write_text("before")
    with pytest.raises(KeyboardInterrupt), complete_file(path) as unfinished:
        unfinished.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "before"
    with complete_file(path) as unfinished:
        unfinished.write_text("whole")
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_pictures_and_films_leave_no_other_file(tmp_path):
    frames = np.zeros((3, 16, 16, 3), np.uint8)
    write_png(tmp_path / "a.png", frames[0])
    write_gif(tmp_path / "a.gif", frames, 5)
    write_mp4(tmp_path / "a.mp4", frames, 1e-9)  # a rate that rounds to nothing
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gif", "a.mp4", "a.png"]


def test_two_that_write_one_file_do_not_write_into_each_other(tmp_path):
    """Also where both have one process number, as on two machines, or are threads of one process."""
    path = tmp_path / "a.txt"
    with complete_file(path) as first, complete_file(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    synced = []
    monkeypatch.setattr(outputs, "sync", lambda place: synced.append((place.name, path.exists())))
    with complete_file(path) as unfinished:
        unfinished.touch()
    assert synced == [(unfinished.name, False), (tmp_path.name, True)]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EIO])
def test_a_folder_that_cannot_be_synced_is_passed_over_and_a_broken_disk_is_not(
    number, tmp_path, monkeypatch
):
    def refuse(path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(outputs, "sync", refuse)
    with pytest.raises(OSError, match="Input/output") if number == errno.EIO else nullcontext():
        sync_folder(tmp_path)


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path} is a folder"), complete_file(tmp_path):
        pass
