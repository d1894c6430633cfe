"""Workers that hang, are killed, crash or get a signal: the loader names the file, and no process is left."""

import os
import signal
import socket
import time
from multiprocessing import active_children
from pathlib import Path

import pytest
from torch.utils.data import Dataset

from vjepa.data.decode import open_video
from vjepa.data.decode_error import DecodeError
from vjepa.data.loader import Loader, loader_settings
from vjepa.data.manifest_error import ManifestError
from vjepa.data.reading import Process, note_file, read_now
from vjepa.data.workers import give_up_workers
from vjepa.errors import DataError, UserError


class Misbehaving(Dataset):
    """Sample 2 is read from `second.mp4`, and does something else than to answer."""

    def __init__(self, act) -> None:
        self.act = act

    def __len__(self) -> int:
        return 6

    def __getitem__(self, i: int) -> int:
        note_file(Path("/videos") / ("second.mp4" if i == 2 else "first.mp4"))
        if i == 2:
            self.act()
        note_file(None)
        return i


def kill_oneself(number: int):
    return lambda: os.kill(os.getpid(), number)


def complain():
    raise ManifestError("list.csv: row 7 is wrong; mend it")


def batches(act, workers: int = 2, timeout: float = 60.0) -> list[int]:
    loader = Loader(Misbehaving(act), batch_size=None, **loader_settings(workers, timeout))
    return [int(batch) for batch in loader]


@pytest.fixture(autouse=True)
def no_worker_is_left():
    yield
    note_file(None)
    give_up_workers()  # an error that pytest keeps holds its loader
    assert active_children() == []


def test_a_worker_that_hangs_is_named_by_its_file_and_ended():
    begin = time.perf_counter()
    with pytest.raises(DataError, match=r"second.mp4 does not answer within 1 seconds; .*data.timeout"):
        batches(lambda: time.sleep(60), timeout=1.0)
    assert time.perf_counter() - begin < 15


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (signal.SIGKILL, r"\(Killed\) while it read /videos/second.mp4: most likely because memory ran out"),
        (signal.SIGSEGV, r"\(Segmentation fault\) while it read /videos/second.mp4: leave that file out"),
        (signal.SIGBUS, r"shared memory \(/dev/shm\) ran out"),
        (signal.SIGABRT, r"\(Aborted\) while it read /videos/second.mp4"),
    ],
)
def test_a_worker_that_is_killed_or_crashes_is_one_sentence(number, told):
    with pytest.raises(DataError, match=told):
        batches(kill_oneself(number))


def test_a_worker_that_exits_is_one_sentence():
    with pytest.raises(DataError, match=r"ended \(exit code 3\) while it read /videos/second.mp4"):
        batches(lambda: os._exit(3))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_to_every_process_of_a_job_ends_no_worker(number):
    assert batches(kill_oneself(number)) == list(range(6))


def test_a_mistake_that_a_worker_finds_is_its_sentence_alone():
    with pytest.raises(UserError) as raised:
        batches(complain)
    assert str(raised.value) == "list.csv: row 7 is wrong; mend it"


def test_an_error_that_is_no_mistake_stays_what_it_is():
    with pytest.raises(ZeroDivisionError):
        batches(lambda: 1 / 0)


def test_without_workers_the_process_itself_notes_what_it_reads():
    seen = []
    assert batches(lambda: seen.append(read_now().path), workers=0) == list(range(6))
    assert seen == ["/videos/second.mp4"] and read_now() is None and Process.awaited is None


def test_pipes_sockets_devices_and_folders_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket.mp4"))
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "link.mp4").symlink_to(tmp_path / "pipe.mp4")
    for path in [*sorted(tmp_path.iterdir()), Path("/dev/zero")]:
        with pytest.raises(DecodeError, match=f"{path.name}: a directory, a pipe or a device, not a file"):
            open_video(path)
    listener.close()
    assert read_now() is None
