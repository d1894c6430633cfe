"""Every reader of files that others wrote gives a right value or one sentence that names the file.

    python -m tests.test_fuzz --count 20000 --seed 1            # prints a table
    python -m tests.test_fuzz --reader 'export: encoder' --first 17 --count 18 --show     # number 17 again

Inputs are small files, damaged at random by `mutations`; a number and a seed make the same one again.
"""

import argparse
import contextlib
import io
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tests.fuzz_inputs import Reader, readers
from tests.mutations import damaged
from vjepa.errors import UserError

COUNT = 2000
SECONDS = 5.0
"""Most time of the processor for one input."""
BYTES = 300 * 2**20
"""Most memory that one input may add."""
LETTERS = 1800
"""Most letters of a sentence."""


class TooLong(BaseException):
    """An input took more than SECONDS. Not an Exception, so that no reader makes a sentence of it."""


def spoil(reader: Reader, folder: Path, number: str) -> Path:
    """A copy of a reader's input in which one file is damaged; the path of that file."""
    draw = random.Random(number)
    name = draw.choice(sorted(reader.files))
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(reader.folder, folder)
    data = (folder / name).read_bytes()
    for _ in range(10):
        # A value that a format cannot hold makes no file of it; then another is drawn.
        with contextlib.suppress(Exception):
            changed = damaged(data, reader.files[name], draw)
            break
    else:
        changed = data[:-1]
    (folder / name).write_bytes(changed)
    return folder / name


def outcome(reader: Reader, folder: Path, file: Path) -> str:
    """`read`, `told`, or what is against the law, in words."""
    before = contents(folder)
    memory = peak_memory()
    written = io.StringIO()
    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # not by the clock: others may use the machine too
    try:
        with contextlib.redirect_stdout(written), contextlib.redirect_stderr(io.StringIO()):
            found = verdict(reader, folder, file)
    except TooLong:
        found = f"more than {SECONDS:g} seconds"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    if written.getvalue():
        return "wrote to stdout"
    if contents(folder) != before:
        return "wrote files"
    return "took memory" if peak_memory() - memory > BYTES else found


def verdict(reader: Reader, folder: Path, file: Path) -> str:
    """What a reader made of its input."""
    try:
        value = reader.read(folder)
    except UserError as error:
        return judge(str(error), folder, file)
    except (TooLong, KeyboardInterrupt):
        raise
    except BaseException as error:  # noqa: BLE001  some libraries panic, which is no Exception
        return f"untyped {type(error).__name__}: {str(error)[:100]}"
    return "read" if is_finite(value) else "read, and not finite"


def judge(sentence: str, folder: Path, file: Path) -> str:
    """Whether a sentence is one short line that names the file, or the folder that was given."""
    if not sentence.isprintable() or len(sentence) > LETTERS:
        return "told, in more than a line"
    named = file.name in sentence or str(folder) in sentence
    return "told" if named else f"told, without the file: {sentence[:100]}"


def is_finite(value: object) -> bool:
    """Whether all numbers of tensors and arrays in a value are finite."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if id(part) in seen:  # a value may hold itself
            continue
        seen.add(id(part))
        waiting += parts_of(part)
        if isinstance(part, Tensor) and not (is_plain(part) and part.isfinite().all()):
            return False
        if isinstance(part, np.ndarray) and part.dtype.kind == "f" and not np.isfinite(part).all():
            return False
    return True


def parts_of(value: object) -> list:
    """What a network, a container or a dataclass holds."""
    if isinstance(value, nn.Module):
        return list(value.state_dict().values())
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, list | tuple):
        return list(value)
    return list(vars(value).values()) if is_dataclass(value) else []


def is_plain(value: Tensor) -> bool:
    """Whether a tensor holds all its numbers, in a type that can be computed with."""
    dense = value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized
    whole = dense and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    return whole and value.dtype not in (torch.float8_e4m3fn, torch.float8_e5m2)


def stop(*_: object) -> None:
    raise TooLong


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    """The files below a folder, their sizes and times."""
    states = {str(path): path.stat() for path in folder.rglob("*") if path.is_file()}
    return {path: (state.st_size, state.st_mtime_ns) for path, state in states.items()}


def peak_memory() -> int:
    """The most bytes that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextlib.contextmanager
def bounded_memory() -> Iterator[None]:
    """No more than 6 GiB of addresses are added, so that a bomb is an error and no dead machine."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + 6 * 2**30, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def shares(found: Mapping[str, Reader], count: int) -> dict[str, int]:
    """How many inputs each reader gets of `count`."""
    total = sum(reader.share for reader in found.values())
    return {name: max(1, round(count * reader.share / total)) for name, reader in found.items()}


def fuzz(
    found: Mapping[str, Reader], folder: Path, count: int, seed: int, first: int = 0, show: bool = False
) -> dict[str, Counter]:
    """Reader -> its outcomes, each with how often; what is against the law is told with its number."""
    told: dict[str, Counter] = {}
    with bounded_memory():
        for name, numbers in shares(found, count).items():
            told[name] = Counter()
            for number in range(first, numbers):
                file = spoil(found[name], folder, f"{seed} {name} {number}")
                result = outcome(found[name], folder, file)
                told[name][result if result in ("read", "told") else f"{result} [{number}]"] += 1
                if show:
                    show_one(found[name], folder, file, result)
    return told


def show_one(reader: Reader, folder: Path, file: Path, result: str) -> None:
    """Print an outcome with all that a reader raised."""
    print(f"{file}: {result}")
    try:
        reader.read(folder)
    except BaseException as error:
        traceback.print_exception(error)
        if not isinstance(error, Exception):
            raise


def test_two_thousand_damaged_inputs_are_read_rightly_or_told_in_a_sentence(tmp_path):
    found = readers(tmp_path / "whole")
    told = fuzz(found, tmp_path / "copy", COUNT, seed=0)
    unlawful = {
        name: [what for what in counts if what not in ("read", "told")] for name, counts in told.items()
    }
    assert {name: what for name, what in unlawful.items() if what} == {}
    assert sum(counts.total() for counts in told.values()) > 0.95 * COUNT


def test_whole_inputs_are_read(tmp_path):
    """Else the readers above would refuse all that they get, for a reason of their own."""
    for name, reader in readers(tmp_path / "whole").items():
        file = reader.folder / next(iter(reader.files))
        assert verdict(reader, reader.folder, file) == "read", name


def main() -> None:
    """Print what became of the inputs, by reader."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", help="those alone whose names begin so")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--show", action="store_true", help="print each error with its traceback")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        found = readers(Path(place) / "whole")
        if options.reader:
            found = {name: made for name, made in found.items() if name.startswith(options.reader)}
        begin = time.perf_counter()
        copy = Path(place) / "copy"
        told = fuzz(found, copy, options.count, options.seed, options.first, options.show)
        seconds = time.perf_counter() - begin
    print(f"{'reader':<26} {'inputs':>6} {'read':>6} {'told':>6} {'against the law':>16}")
    unlawful = 0
    for name, counts in told.items():
        rest = counts.total() - counts["read"] - counts["told"]
        unlawful += rest
        print(f"{name:<26} {counts.total():>6} {counts['read']:>6} {counts['told']:>6} {rest:>16}")
    for name, counts in told.items():
        for what in counts - Counter(read=counts["read"], told=counts["told"]):
            print(f"{name}: {what}")
    total = sum(counts.total() for counts in told.values())
    print(f"{total:,} inputs in {seconds:.0f} s, {unlawful} against the law")
    raise SystemExit(unlawful > 0)


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())
    main()
