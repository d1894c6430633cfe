"""A folder has one owner at a time, whatever ends it, and the others are told who it is."""

import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from vjepa.drawing import folder_lock
from vjepa.drawing.folder_lock import HELD, NAME, check_owned, own, owned
from vjepa.errors import UserError

CHILD = """
import os, sys, time
from pathlib import Path
from vjepa.drawing import folder_lock
from vjepa.errors import UserError
folder = Path(sys.argv[1])
folder_lock.PATIENCE = float(sys.argv[2])
try:
    folder_lock.own(folder)
except UserError as error:
    print(f"refused: {error}", flush=True)
    raise SystemExit(2)
{more}
print("has it", flush=True)
sys.stdin.readline()
folder_lock.check_owned(folder)
"""


@contextmanager
def process(folder: Path, more: str = "", patience: float = 0.0) -> Iterator[subprocess.Popen]:
    """Another process that asks for the folder, and keeps it until it is sent a line."""
    program = [sys.executable, "-c", CHILD.replace("{more}", more), str(folder), str(patience)]
    child = subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(folder_lock, "PATIENCE", 0.0)
    yield
    for file in HELD.values():
        os.close(file)
    HELD.clear()


def test_of_many_that_start_together_one_has_the_folder_and_is_named_to_the_others(tmp_path):
    folder = tmp_path / "new/run"
    with ExitStack() as stack:
        children = [stack.enter_context(process(folder, patience=0.5)) for _ in range(6)]
        said = {child.pid: child.stdout.readline().strip() for child in children}
    owners = [pid for pid, words in said.items() if words == "has it"]
    assert len(owners) == 1
    for pid in said.keys() - owners:
        assert said[pid].startswith(f"refused: {folder} is in use by process {owners[0]} on ")
        assert said[pid].endswith("; wait until it ends, stop it, or choose another --out")


FORK = """
worker = os.fork()
if worker == 0:  # like a loader's worker that waits for a dead disk
    time.sleep(60)
    os._exit(0)
print(worker, flush=True)
"""


def test_a_killed_owner_is_no_owner_even_where_its_workers_live_on(tmp_path, monkeypatch):
    with process(tmp_path, FORK) as child:
        worker = int(child.stdout.readline())
        assert child.stdout.readline() == "has it\n"
        with pytest.raises(UserError, match=f"in use by process {child.pid} on .* since 20"):
            own(tmp_path)
        child.kill()
        child.wait()
        monkeypatch.setattr(folder_lock, "PATIENCE", 2.0)  # the worker may not have begun yet
        try:
            os.kill(worker, 0)  # it lives
            own(tmp_path)
        finally:
            os.kill(worker, 9)


READ = "(folder / '.lock').read_bytes()  # as a copy of the folder does"


def test_the_owner_may_read_its_folder_and_ask_for_it_again(tmp_path):
    with process(tmp_path, f"{READ}\nfolder_lock.own(folder)\n{READ}") as child:
        assert child.stdout.readline() == "has it\n"
        with pytest.raises(UserError, match="is in use by"):
            own(tmp_path)


def test_an_owner_that_is_about_to_end_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_lock, "PATIENCE", 20.0)
    with process(tmp_path) as child:
        assert child.stdout.readline() == "has it\n"
        child.stdin.write("\n")
        child.stdin.flush()
        own(tmp_path)
        assert child.wait() == 0


def test_after_the_block_nothing_is_left_and_the_next_one_may_have_it(tmp_path):
    with owned(tmp_path / "a"):
        assert (tmp_path / "a" / NAME).read_text().startswith(f"process {os.getpid()} on ")
    assert list((tmp_path / "a").iterdir()) == []
    with pytest.raises(KeyError), owned(tmp_path / "a"):
        raise KeyError
    with process(tmp_path / "a") as child:
        assert child.stdout.readline() == "has it\n"


def test_a_link_leads_to_the_same_folder(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real").mkdir()
    own(tmp_path / "link")
    with process(tmp_path / "real") as child:
        assert child.stdout.readline().startswith("refused")
    check_owned(tmp_path / "real")


@pytest.mark.parametrize("remove", ["folder", "lock"])
def test_an_owner_whose_folder_was_given_away_learns_it_before_it_writes_again(tmp_path, remove):
    folder = tmp_path / "run"
    own(folder)
    shutil.rmtree(folder) if remove == "folder" else (folder / NAME).unlink()
    check_owned(folder)  # nobody else has it, so far
    with process(folder) as child:
        assert child.stdout.readline() == "has it\n"
        with pytest.raises(UserError, match=f"was removed while .* now process {child.pid} on .* has it"):
            check_owned(folder)
    check_owned(tmp_path / "never owned")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_told_once_and_the_run_goes_on(tmp_path, monkeypatch, capsys, number):
    def refuse(*_) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(folder_lock.fcntl, "flock", refuse)
    for _ in range(2):
        with owned(tmp_path):
            check_owned(tmp_path)
    assert capsys.readouterr().err.count("this disk knows no locks") == 1


def test_a_folder_that_cannot_be_had_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere/at/all")
    (tmp_path / "taken" / NAME).mkdir(parents=True)
    for name in ("file", "file/below", "dangling", "taken", "n" * 300):
        with pytest.raises(
            UserError, match=rf"{name}.* (cannot be|is a file).*; choose another --out"
        ) as told:
            own(tmp_path / name)
        assert "\n" not in str(told.value)

    def fail(*_) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(folder_lock.fcntl, "flock", fail)
    with pytest.raises(UserError, match="cannot be locked"):
        own(tmp_path)


def test_words_in_the_lock_file_that_are_none_do_not_matter(tmp_path):
    with process(tmp_path, "folder.joinpath('.lock').write_bytes(bytes(range(256)) * 9)") as child:
        assert child.stdout.readline() == "has it\n"
        began = time.monotonic()
        with pytest.raises(UserError, match="is in use by"):
            own(tmp_path)
        assert time.monotonic() - began < 1
