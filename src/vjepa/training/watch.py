"""A thread that watches over a run: it hears signals, misses a lost process, and ends what does not answer.

The main thread cannot do this. While it opens a file on a dead network mount, or waits for the GPU or for
another process, Python calls no handler in it.
"""

import math
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import lightning as L

from vjepa.command.exit_status import STARTER, STATUS
from vjepa.data.reading import Process, read_now, read_of
from vjepa.data.workers import (
    end_with_parent,
    give_up_workers,
    kill_workers,
    unanswered,
    workers_unanswered,
)
from vjepa.errors import RANKS

AGAIN = "the same command continues from the last checkpoint"
PERIOD = 0.5
"""Seconds between two looks."""
ONE_SIGNAL = 1.0
"""Seconds in which several signals count as one: Ctrl-C reaches every process of a terminal, and then again
from the process that started them."""
PATIENCE = 5.0
"""Seconds after a signal in which the main thread shall end by itself, or a file shall answer."""


class Stopped(SystemExit):
    """A signal, or the limit of time, ends the run. `sentence` says where it continues."""

    def __init__(self, number: int, sentence: str) -> None:
        super().__init__(STATUS[number])
        self.sentence = sentence


class Watch(threading.Thread):
    """The thread. `watched` starts it."""

    def __init__(self) -> None:
        super().__init__(name="watch", daemon=True)
        self.receiver, self.sender = socket.socketpair()
        self.sender.setblocking(False)
        self.requested = 0
        """The signal that asked for the end, or 0."""
        self.since = math.inf
        """When the main thread was asked to end."""
        self.defers = False
        """Whether training ends the run itself, after its step."""
        self.timeout = math.inf
        """Seconds that a file may take which the main thread reads."""
        self.trainer: L.Trainer | None = None
        self.leaving = False
        self.closed = False

    @property
    def ranks(self) -> list[subprocess.Popen]:
        """The processes of the other devices of this machine, where Lightning has started them."""
        launcher = self.trainer and self.trainer.strategy.launcher
        return getattr(launcher, "procs", [])

    def run(self) -> None:
        while not self.closed:
            ready = select.select([self.receiver], [], [], PERIOD)[0]
            for number in self.receiver.recv(256) if ready else b"":
                self.hear(number)
            self.check_ranks()
            self.check_main_thread()

    def hear(self, number: int) -> None:
        """Note a signal; a second one does not wait."""
        if number not in STATUS:
            return
        if not self.requested:
            self.request(number)
        elif time.monotonic() - self.since > ONE_SIGNAL:
            self.end(f"stopped at once by a second signal; {AGAIN}", self.status)

    def request(self, number: int) -> None:
        """Ask for the end of the run, for the reason that this signal stands for."""
        if not self.requested:
            self.since = time.monotonic()
            self.requested = number

    @property
    def status(self) -> int:
        return STATUS[self.requested]

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Python's handler, in the main thread: ends whatever it does, unless training ends itself."""
        if not self.defers:
            raise Stopped(number, f"stopped by {signal.Signals(number).name}; {AGAIN}")

    def release(self) -> None:
        """Training has saved everything: from now on a signal ends the run at once, also an earlier one."""
        self.defers = False
        if self.requested:
            self.since = time.monotonic()
            self.interrupt(self.requested, None)

    def check_ranks(self) -> None:
        """End this process with the first of the other devices' processes that has failed."""
        for device, process in enumerate(self.ranks, 1):
            status = process.poll()
            if not status or self.leaving or (self.requested and status == self.status):
                continue
            if status < 0:
                name = signal.Signals(-status).name
                memory = ", most likely because memory ran out" if name == "SIGKILL" else ""
                text = f"the process of device {device} ({process.pid}) was ended by {name}{memory}; {AGAIN}"
                self.end(text, 128 - status)
            self.end("", status)  # it has said itself what was wrong

    def check_main_thread(self) -> None:
        """End this process if the main thread waits for a file that does not answer."""
        now = time.monotonic()
        own = read_of(Process.note[0])
        if own and now - own.since > self.timeout:
            self.end(unanswered(f"{own.path} does not answer", self.timeout), 2)
        # torch ends its own wait earlier, but not while a worker that has stopped hands a batch over.
        if now - Process.waits_since > self.timeout + PATIENCE:
            self.end(workers_unanswered(Process.awaited, self.timeout), 2)
        if now - self.since < PATIENCE:
            return
        read = read_now()
        if not self.defers:
            self.end(f"stopped; {AGAIN}", self.status)
        elif read and now - read.since > PATIENCE:
            text = f"stopped; {read.path} does not answer, so this step was not saved"
            self.end(f"{text}; {AGAIN}", self.status)

    def end(self, sentence: str, status: int) -> None:
        """End this process and all that it has started, whatever the main thread does."""
        if sentence:
            # Not through sys.stderr, which the main thread may hold.
            os.write(2, f"error: {sentence}\n".encode(errors="backslashreplace"))
        self.end_ranks()
        kill_workers()
        os._exit(status)

    def leave(self, error: BaseException) -> None:
        """Called where an error ends this process of several: one speaks for all of them.

        Ends the process itself if the error only says that another one is gone.
        """
        if not is_lost_connection(error):
            self.end_ranks()
            return
        # What started the other process ends this one too, and knows why.
        time.sleep(PATIENCE)
        text = f"another process of this run has ended, or does not answer; {AGAIN}"
        self.end("" if self.requested or not is_first() else text, 1)

    def end_ranks(self) -> None:
        """End the processes of the other devices, which would wait for this one."""
        self.leaving = True
        for process in self.ranks:
            process.kill()


@contextmanager
def watched() -> Iterator[Watch]:
    """Watch over what is inside. Afterwards no process is left, and signals mean what they meant before."""
    if "TORCHELASTIC_RUN_ID" in os.environ or os.environ.get("LOCAL_RANK", "0") != "0":
        end_with_parent()  # nothing else would end it
        if os.getppid() != STARTER:
            raise SystemExit(1)
    watch = Watch()
    handlers = {number: signal.signal(number, watch.interrupt) for number in STATUS}
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL:
        # A handler that does nothing lets the thread hear of a process that has ended.
        signal.signal(signal.SIGCHLD, lambda *_: None)
    wakeup = signal.set_wakeup_fd(watch.sender.fileno(), warn_on_full_buffer=False)
    watch.start()
    try:
        yield watch
        for process in watch.ranks:
            process.wait()
    except Stopped as stopped:
        if is_first():
            print(stopped.sentence, flush=True)
        # All is saved, and nothing shall change the exit status any more.
        handlers |= dict.fromkeys(STATUS, signal.SIG_IGN)
        raise
    finally:
        watch.closed = True
        signal.set_wakeup_fd(wakeup)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        watch.end_ranks()
        give_up_workers()


def is_lost_connection(error: BaseException) -> bool:
    """Whether an error of torch's collectives says that another process is gone."""
    words = ("/gloo/", "NCCL", "Connection closed by peer", "Connection reset by peer", "Broken pipe")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


def is_first() -> bool:
    """Whether this is the process that speaks for all."""
    return all(os.environ.get(name, "0") == "0" for name in RANKS)
