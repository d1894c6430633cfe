"""Run several recipes that differ in a few settings, over seeds; draw their curves and write their table.

    vjepa sweep conf/sweeps/masks.yaml

The file names a stage, the recipes it starts from, and what each run changes:

    stage: pretrain
    configs: [conf/pretrain.yaml]
    seeds: [0, 1]
    curves: [readout/label_linear, collapse/effective_rank]
    runs:
      baseline: {}
      slower target: {model.momentum.peak: 0.999}

Runs go to runs/<name of the file>/<run>-seed<seed>. A finished run is not run again, and an interrupted run
continues. Every folder holds its resolved recipe (config.yaml, with the seed) and the commit (commit.txt),
from which it can be reproduced.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml

from vjepa.command.parser import PlainParser
from vjepa.command.yaml_text import load_yaml
from vjepa.data.text_files import read_text
from vjepa.drawing.folder_lock import owned
from vjepa.drawing.style import new_figure, save_figure, style
from vjepa.errors import UserError, check_positive, damage_as_error, require
from vjepa.evaluation.tables import markdown_table, mean_and_spread

Curve = dict[int, float]  # step -> value


@dataclass(frozen=True)
class Sweep:
    """One sweep file."""

    stage: str
    """Which of stages/*.py is run."""
    configs: list[str]
    """Recipes laid over one another, the first below."""
    runs: dict[str, dict[str, object]]
    """Name of a run -> dotted settings that it changes."""
    seeds: list[int] = field(default_factory=lambda: [0])
    """Seeds; every run is made with each of them."""
    curves: list[str] = field(
        default_factory=lambda: ["readout/label_linear", "readout/label_few", "collapse/effective_rank"]
    )
    """TensorBoard scalars that are drawn and put into the table."""

    def __post_init__(self) -> None:
        for name in ("configs", "runs", "seeds", "curves"):
            require(bool(getattr(self, name)), f"{name} is empty; give one or more")
        # Signs become hyphens in the name of a folder.
        folders = {folder_of(Path(), name, 0) for name in self.runs}
        require(len(folders) == len(self.runs), "two runs have names that differ only in signs; rename one")


def read_sweep(path: Path) -> Sweep:
    """The sweep in a YAML file. Raises UserError for a file or settings that are no sweep."""
    try:
        settings = load_yaml(read_text(path))
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    known = ", ".join(field.name for field in fields(Sweep))
    require(isinstance(settings, dict), f"{path}: expected the settings {known}")
    parser = PlainParser(prog="vjepa sweep")
    parser.add_class_arguments(Sweep)
    try:
        return Sweep(**parser.parse_object(settings).as_dict())
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def folder_of(out: Path, name: str, seed: int) -> Path:
    """The folder of one run of a sweep whose runs go to `out`."""
    return out / f"{re.sub(r'[^A-Za-z0-9.=]+', '-', name)}-seed{seed}"


def command(sweep: Sweep, changes: dict[str, object], seed: int, out: Path) -> list[str]:
    """The command line of one run."""
    program = [sys.executable, "-m", f"stages.{sweep.stage}", "fit"]
    configs = [word for config in sweep.configs for word in ("--config", config)]
    places = ["--out", str(out), "--seed_everything", str(seed)]
    # JSON is YAML, which the stage's command line reads. A string needs no quotes.
    values = {key: value if isinstance(value, str) else json.dumps(value) for key, value in changes.items()}
    return [*program, *configs, *places, *(f"--{key}={value}" for key, value in values.items())]


def run_all(sweep: Sweep, out: Path, jobs: int) -> None:
    """Run what is not finished, `jobs` at a time, which share the cores. Raises UserError if one fails."""
    # A process takes a thread for every core, so several at a time would slow each other down.
    threads = max(1, (os.cpu_count() or 1) // jobs)
    runs = [(name, seed) for name in sweep.runs for seed in sweep.seeds]
    # Threads, since each only waits for a process of its own.
    with ThreadPoolExecutor(jobs) as pool:
        succeeded = list(pool.map(lambda run: run_one(sweep, *run, out, threads), runs))
    failed = [folder_of(out, *run) for run, success in zip(runs, succeeded, strict=True) if not success]
    require(not failed, "; ".join(f"{folder} failed, see its log.txt" for folder in failed))


def run_one(sweep: Sweep, name: str, seed: int, out: Path, threads: int) -> bool:
    """Run one recipe with one seed; returns whether it succeeded. Output goes to log.txt of its folder."""
    folder = folder_of(out, name, seed)
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{folder} ...", flush=True)
    words = command(sweep, sweep.runs[name], seed, folder)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with open(folder / "log.txt", "w") as log:
        process = subprocess.run(words, stdout=log, stderr=subprocess.STDOUT, env=environment, check=False)
    return process.returncode == 0


def read_curves(run: Path, names: Iterable[str]) -> dict[str, Curve]:
    """Scalars of a run's TensorBoard files, empty where a name was never logged.

    After a resume a step may occur twice; then the last value counts.
    """
    # Imported here, since it takes seconds that other users of this module need not wait.
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run), size_guidance={"scalars": 0})  # 0: all steps, not a sample of them
    with damage_as_error(run, advice="its curves cannot be drawn; remove the files of events to train anew"):
        events.Reload()
    logged = events.Tags()["scalars"]
    return {name: {e.step: e.value for e in events.Scalars(name)} if name in logged else {} for name in names}


class SeedCurve(NamedTuple):
    """A curve over several seeds."""

    steps: list[int]
    """Steps that all seeds have."""
    mean: list[float]
    spread: list[float]
    """Standard deviation over seeds; 0 for a single one."""


def over_seeds(curves: Sequence[Curve]) -> SeedCurve:
    """Mean and standard deviation at the steps that all seeds have."""
    steps = sorted(set.intersection(*(set(curve) for curve in curves)))
    values = [mean_and_spread([curve[step] for curve in curves]) for step in steps]
    return SeedCurve(steps, [mean for mean, _ in values], [spread for _, spread in values])


def read_runs(sweep: Sweep, out: Path) -> dict[str, dict[str, SeedCurve]]:
    """Curves over seeds by run and scalar."""
    curves = {}
    for name in sweep.runs:
        seeds = [read_curves(folder_of(out, name, seed), sweep.curves) for seed in sweep.seeds]
        curves[name] = {scalar: over_seeds([seed[scalar] for seed in seeds]) for scalar in sweep.curves}
    return curves


def draw(sweep: Sweep, out: Path) -> Path:
    """Write curves.png: a panel for each scalar, a line for each run, its deviation over seeds shaded."""
    with style():
        figure = new_figure(height=3.6, width=4.5 * len(sweep.curves))
        panels = figure.subplots(1, len(sweep.curves), squeeze=False)[0]
        for name, curves in read_runs(sweep, out).items():
            for panel, (scalar, curve) in zip(panels, curves.items(), strict=True):
                (line,) = panel.plot(curve.steps, curve.mean, label=name)
                low = np.subtract(curve.mean, curve.spread)
                high = np.add(curve.mean, curve.spread)
                panel.fill_between(curve.steps, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
                panel.set(title=scalar, xlabel="step")
        panels[0].legend()
        save_figure(figure, out / "curves.png")
    return out / "curves.png"


def sweep_table(sweep: Sweep, out: Path) -> str:
    """Markdown: first and last value of every scalar, mean and standard deviation over seeds."""
    rows = [
        (name, *(first_and_last(curve) for curve in curves.values()))
        for name, curves in read_runs(sweep, out).items()
    ]
    return markdown_table(("run", *sweep.curves), rows)


def first_and_last(curve: SeedCurve) -> str:
    if not curve.steps:
        return "not logged"
    spread = f" ± {curve.spread[-1]:.3f}" if any(curve.spread) else ""
    return f"{curve.mean[0]:.3f} -> {curve.mean[-1]:.3f}{spread}"


def run_sweep(file: Path, *, out: Path | None = None, jobs: int = 1) -> None:
    """Run a sweep, draw its curves and print its table.

    Args:
        file: The sweep, a YAML file as `vjepa.training.sweep` describes it.
        out: Folder for its runs; runs/<name of the file> if not given.
        jobs: Runs at a time, which share the cores.
    """
    check_positive(jobs=jobs)
    sweep = read_sweep(file)
    for config in sweep.configs:
        require(Path(config).is_file(), f"{file}: configs names {config}, and there is no such file")
    out = out or Path("runs") / file.stem
    with owned(out):
        run_all(sweep, out, jobs)
        text = sweep_table(sweep, out)
        (out / "table.md").write_text(text + "\n")
        print(text)
        print(f"curves: {draw(sweep, out)}")
