"""The faults of `scripts/torture.py`: each is injected several times, and says what was lost."""

import os
import resource
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from scripts.forked import Started, children
from scripts.small_runs import Runs
from vjepa.errors import require

TWO = ("--trainer.accelerator", "cpu", "--trainer.devices", "2", "--data.batch_size", "2")
"""Two processes, and the same clips in a step."""
HALVES = (
    *("--trainer.accumulate_grad_batches", "2", "--data.batch_size", "2"),
    *("--trainer.val_check_interval", "16"),
)
"""The same clips in a step, in two parts."""
EPOCHS = ("--trainer.max_steps", "-1", "--trainer.max_epochs", "3", "--trainer.limit_train_batches", "8")
"""The same steps, counted in epochs."""


class Row(NamedTuple):
    """A fault, how often it was injected, and what came of it."""

    fault: str
    injected: int
    outcome: str
    lost: str


def lost(differences: Sequence[float], allowed: float = 0.0) -> str:
    """What is lost if weights differ by so much from those of the reference."""
    worst = max(differences)
    if worst == 0:
        return "nothing: weights are equal to the bit"
    return f"{'nothing: ' if worst <= allowed else ''}weights differ by {worst:.0e}"


def interrupted(runs: Runs, stage: str, run: str, number: int, most: int, more: Sequence[str]) -> list[int]:
    """Send a signal at random moments of a run until it is finished; the statuses that it ended with."""
    statuses: list[int] = []
    while len(statuses) < most:
        started = runs.start(stage, run, *more)
        time.sleep(runs.random.uniform(0.0, runs.reference(stage)))
        if started.is_running():
            started.kill(number)
        status = started.wait()
        if status == 0:  # the signal came too late
            return statuses
        statuses.append(status)
    runs.finish(stage, run, *more)
    return statuses


def kills(
    runs: Runs,
    stage: str,
    count: int,
    number: int = signal.SIGKILL,
    more: Sequence[str] = (),
    where: str = "",
) -> Row:
    """Interrupt a stage so often, in as many runs as that takes, and compare what each of them exports."""
    runs.reference(stage)
    name = signal.Signals(number).name
    statuses: list[int] = []
    differences: list[float] = []
    while len(statuses) < count:
        run = runs.fresh(stage, f"{name}{where.replace(' ', '-')}-{len(differences)}")
        statuses += interrupted(runs, stage, run, number, count - len(statuses), more)
        differences.append(runs.difference(stage, run))
    found = ", ".join(map(str, sorted(set(statuses))))
    return Row(
        f"{name}, {stage}{where}", len(statuses), f"exit status {found}; all runs finished", lost(differences)
    )


def kills_in_epochs(runs: Runs, count: int) -> Iterator[Row]:
    for number, often in (
        (signal.SIGKILL, count),
        (signal.SIGTERM, count // 4),
        (signal.SIGUSR1, count // 4),
    ):
        yield kills(runs, "pretrain", max(often, 1), number, EPOCHS, " of 3 epochs")


def signals(runs: Runs, count: int) -> list[Row]:
    return [
        kills(runs, "pretrain", count, number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    ]


def damaged_checkpoints(runs: Runs) -> Row:
    """Damage the newest checkpoint in several ways; the run must name it and go on from the one before."""
    ways = (cut_off, emptied, with_zeros, with_a_flipped_bit, made_a_folder, made_a_dangling_link)
    differences = []
    for way in ways:
        run = f"damaged-{way.__name__}"
        checkpoints = runs.unfinished("pretrain", run) / "checkpoints"
        file = checkpoints / f"step={newest(checkpoints)}.ckpt"
        way(file)
        runs.finish("pretrain", run)
        require(file.name in runs.log("pretrain", run), f"{run}: the log does not name {file.name}")
        differences.append(runs.difference("pretrain", run))
    return Row(
        "newest checkpoint damaged", len(ways), "named; went on from the one before", lost(differences)
    )


def cut_off(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 3)


def emptied(file: Path) -> None:
    os.truncate(file, 0)


def with_zeros(file: Path) -> None:
    content = file.read_bytes()
    middle = len(content) // 2
    file.write_bytes(content[:middle] + bytes(4096) + content[middle + 4096 :])


def with_a_flipped_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def made_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def made_a_dangling_link(file: Path) -> None:
    file.unlink()
    file.symlink_to("nowhere.ckpt")


def two_at_once(runs: Runs, count: int) -> Row:
    """Start two runs in one folder at once, some of another recipe; one of them must be refused."""
    differences = []
    for number in range(count):
        run = runs.fresh("pretrain", f"two-{number}")
        other = ("--seed_everything", "1") if number % 2 else ()
        pair = [runs.start("pretrain", run), runs.start("pretrain", run, *other)]
        statuses = [started.wait() for started in pair]
        require(sorted(statuses) == [0, 2], f"{run}: two runs ended with {statuses}")
        if not (other and statuses[1] == 0):  # else the other recipe was first, and has no reference
            differences.append(runs.difference("pretrain", run))
    return Row("two runs in one folder", count, "one refused, status 2", lost(differences or [0.0]))


def damaged_records(runs: Runs) -> Row:
    """Damage what says which run a folder holds; nothing may be trained, and the checkpoints must stay."""
    ways = (cut_off, emptied, made_a_folder, made_a_dangling_link, Path.unlink)
    for way in ways:
        run = f"recipe-{way.__name__}"
        out = runs.unfinished("pretrain", run)
        way(out / "config.yaml")
        before = sorted(out.glob("checkpoints/*"))
        status = runs.start("pretrain", run).wait()
        require(status == 2, f"{run}: status {status}")
        require(before == sorted(out.glob("checkpoints/*")), f"{run}: the checkpoints are others now")
    return Row("config.yaml damaged or gone", len(ways), "refused, status 2", "nothing: checkpoints stay")


def full_disk(runs: Runs) -> Row:
    """Let no file grow for a while, as on a full disk; saves fail, and the run goes on."""
    run = runs.fresh("pretrain", "full-disk")
    started = runs.start("pretrain", run)
    wait_for(started, runs.out("pretrain", run) / "checkpoints" / "step=3.ckpt")
    unlimited = resource.prlimit(started.pid, resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    wait_for_words(started, "cannot be written")
    resource.prlimit(started.pid, resource.RLIMIT_FSIZE, unlimited)
    require(started.wait() == 0, f"{started.log} says why the run ended")
    failed = runs.log("pretrain", run).count("cannot be written")
    return Row("disk full while saving", failed, "warned, went on", lost([runs.difference("pretrain", run)]))


def stuck_worker(runs: Runs) -> Row:
    """Stop a loader's worker; the run must end with a sentence, and continue."""
    return disturbed_worker(runs, "a loader's worker stuck", signal.SIGSTOP, "--data.timeout", "3")


def killed_worker(runs: Runs) -> Row:
    """Kill a loader's worker, as the kernel does where memory runs out."""
    return disturbed_worker(runs, "a loader's worker killed", signal.SIGKILL)


def disturbed_worker(runs: Runs, fault: str, number: int, *more: str) -> Row:
    run = runs.fresh("pretrain", f"worker-{signal.Signals(number).name}")
    started = runs.start("pretrain", run, *more)
    wait_for(started, runs.out("pretrain", run) / "checkpoints" / "step=3.ckpt")
    os.kill(runs.random.choice(children(started.pid)), number)
    status = started.wait(60)
    require(status == 2, f"{run}: status {status}")
    runs.finish("pretrain", run)
    return Row(
        fault, 1, "ended with a sentence, status 2; continued", lost([runs.difference("pretrain", run)])
    )


def killed_process_of_two(runs: Runs) -> Row:
    """Kill one of two processes that train together, each of them once."""
    differences = []
    reference = runs.fresh("pretrain", "two-processes")
    runs.finish("pretrain", reference, *TWO)
    for rank in range(2):
        run = runs.fresh("pretrain", f"rank-{rank}")
        started = runs.start("pretrain", run, *TWO)
        wait_for(started, runs.out("pretrain", run) / "checkpoints" / "step=3.ckpt")
        (second,) = (child for child in children(started.pid) if b"stages.pretrain" in command_of(child))
        os.kill(second if rank else started.pid, signal.SIGKILL)
        status = started.wait(90)
        require(status != 0, f"{run}: status {status}")
        wait_until_gone(second)
        runs.finish("pretrain", run, *TWO)
        differences.append(runs.difference("pretrain", run, reference))
    return Row("one of two processes killed", 2, "all ended; continued", lost(differences))


def other_machines(runs: Runs) -> Row:
    """Continue on two processes, then on one with two batches a step, then as it began."""
    run = runs.fresh("pretrain", "elsewhere")
    for more in ((), TWO, HALVES):
        started = runs.start("pretrain", run, *more)
        checkpoints = runs.out("pretrain", run) / "checkpoints"
        before = newest(checkpoints)
        while newest(checkpoints) == before and started.is_running():
            time.sleep(0.05)
        started.kill(signal.SIGTERM)
        started.wait()
    runs.finish("pretrain", run)
    difference = runs.difference("pretrain", run, of_all=False)
    return Row("another number of processes", 3, "continued", lost([difference], 1e-6))


def bad_files(runs: Runs) -> Row:
    """Damage one in ten clips of a list; the run must replace and name those that it meets."""
    folder = runs.folder / "data" / "bad"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(runs.folder / "data" / "demo", folder)
    clips = sorted(folder.rglob("*.mp4"))[::10]
    ways = (cut_off, emptied, with_zeros, made_a_folder, made_a_dangling_link, Path.unlink)
    for number, clip in enumerate(clips):
        ways[number % len(ways)](clip)
    rows = f"[{{manifest: {folder}/train.csv}}]"
    bad = ("--data.train", rows, "--data.val", "null", "--data.max_bad_share", "0.5")
    runs.finish("pretrain", runs.fresh("pretrain", "bad-files"), *bad)
    named = len((runs.out("pretrain", "bad-files") / "bad_files.txt").read_text().splitlines())
    return Row("clips damaged or gone", len(clips), f"{named} met, replaced and named", "the damaged clips")


def diverging(runs: Runs) -> Row:
    """Learning rates at which a run cannot work; it must not look finished."""
    rates = ("1e3", "1e12", "1e30")
    for rate in rates:
        run = runs.fresh("pretrain", f"rate-{rate}")
        status = runs.start("pretrain", run, "--model.optim.lr", f"{{peak: {rate}}}").wait()
        exported = (runs.out("pretrain", run) / "model.safetensors").exists()
        require(status == 2 and not exported, f"{run}: status {status}, exported: {exported}")
    return Row("learning rate far too high", len(rates), "ended with a sentence, not exported", "nothing")


def newest(checkpoints: Path) -> int:
    """The step of the newest checkpoint in a folder; 0 if there is none."""
    return max((int(file.stem.partition("=")[2]) for file in checkpoints.glob("step=*.ckpt")), default=0)


def command_of(process: int) -> bytes:
    return Path(f"/proc/{process}/cmdline").read_bytes()


def wait_for(started: Started, file: Path) -> None:
    """Until a file is there."""
    while not file.exists():
        require(started.is_running(), f"it ended too early; {started.log} says why")
        time.sleep(0.02)


def wait_for_words(started: Started, words: str) -> None:
    """Until the log says them."""
    while words not in started.log.read_text():
        require(started.is_running(), f"it ended without a word of {words!r}; see {started.log}")
        time.sleep(0.02)


def wait_until_gone(process: int, seconds: float = 90.0) -> None:
    end = time.monotonic() + seconds
    while Path(f"/proc/{process}").exists():
        require(time.monotonic() < end, f"process {process} is still there")
        time.sleep(0.1)
