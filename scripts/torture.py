"""Injects faults into small runs of every stage and prints what was lost, fault by fault.

    python -m scripts.torture --folder runs/torture
    python -m scripts.torture --folder runs/torture --stages '[pretrain]' --kills 5

The folder must hold the demo's data (`scripts/torture_data.sh FOLDER` makes small ones). Every stage is run
once without a fault. A run with faults has lost nothing if it exports the same weights, to the bit.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from jsonargparse import auto_cli

from scripts import faults
from scripts.faults import Row
from scripts.small_runs import Runs
from scripts.stored_faults import stored
from vjepa.command.mistakes import mistakes_as_sentences
from vjepa.evaluation.tables import markdown_table

STAGES = ("pretrain", "cooldown", "probe", "anticipate", "ac", "clone", "align", "vlm")


def rows(runs: Runs, stages: Sequence[str], kills: int) -> Iterator[Row]:
    """Every fault in turn."""
    for stage in stages:
        yield faults.kills(runs, stage, kills)
    yield from faults.kills_in_epochs(runs, kills)
    yield from faults.signals(runs, max(kills // 4, 1))
    yield faults.damaged_checkpoints(runs)
    yield faults.two_at_once(runs, max(kills // 4, 1))
    yield faults.damaged_records(runs)
    yield faults.full_disk(runs)
    yield faults.stuck_worker(runs)
    yield faults.killed_worker(runs)
    yield faults.killed_process_of_two(runs)
    yield faults.other_machines(runs)
    yield faults.bad_files(runs)
    yield from stored(runs)
    yield faults.diverging(runs)


def torture(folder: Path, stages: Sequence[str] = STAGES, kills: int = 20, seed: int = 0) -> None:
    """Inject every fault and print the table.

    Args:
        folder: Holds `data/demo`, `data/robot` and `data/anticipate`; runs are written below it.
        stages: Which stages are killed.
        kills: How often each of them is killed.
        seed: Decides the moments.
    """
    table = []
    for row in rows(Runs(folder.resolve(), seed), stages, kills):
        print(row, flush=True)
        table.append([row.fault, str(row.injected), row.outcome, row.lost])
    text = markdown_table(["fault", "injected", "outcome", "lost"], table)
    (folder / "torture.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    with mistakes_as_sentences():
        auto_cli(torture, as_positional=False)
