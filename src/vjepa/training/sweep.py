"""Several recipes that differ in a few settings, over seeds: one command runs them, draws their curves and writes their table.

    python -m vjepa sweep conf/sweeps/masks.yaml

The file names a stage, the recipes it starts from, and what each run changes:

    stage: pretrain
    configs: [conf/pretrain.yaml]
    seeds: [0, 1]
    curves: [readout/label_linear, collapse/effective_rank]
    runs:
      baseline: {}
      slower target: {model.momentum.peak: 0.999}

Runs go to runs/<name of the file>/<run>-seed<seed>; a finished one is not run again, an interrupted one goes on. Every folder
holds its resolved recipe (config.yaml) and the commit (commit.txt), which with the seed reproduce it.
"""

import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from vjepa.errors import UserError, require

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
    """Every run is made with each of them."""
    curves: list[str] = field(
        default_factory=lambda: ["readout/label_linear", "readout/label_few", "collapse/effective_rank"]
    )
    """TensorBoard scalars that are drawn and tabled."""

    def __post_init__(self) -> None:
        require(bool(self.runs) and bool(self.seeds), "a sweep needs one run and one seed or more")
        places = {folder(Path(), name, 0) for name in self.runs}
        require(len(places) == len(self.runs), "two runs have names that differ only in signs; rename one")
        for name, changes in self.runs.items():
            require(
                isinstance(changes, dict), f"runs.{name} must be settings like {{model.momentum.peak: 0.999}}"
            )


def read_sweep(path: Path) -> Sweep:
    """Raises UserError on a missing file, an unknown key or a wrong shape."""
    try:
        return Sweep(**yaml.safe_load(path.read_text()))
    except (OSError, TypeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: not a sweep: {error}; see python -m vjepa sweep --help") from error


def folder(out: Path, name: str, seed: int) -> Path:
    return out / f"{re.sub(r'[^A-Za-z0-9.=]+', '-', name)}-seed{seed}"


def command(sweep: Sweep, changes: dict[str, object], seed: int, out: Path) -> list[str]:
    """The command line of one run."""
    configs = [word for config in sweep.configs for word in ("--config", config)]
    settings = [
        f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in changes.items()
    ]
    return [sys.executable, "-m", f"stages.{sweep.stage}", "fit", *configs, "--out", str(out),
            "--seed_everything", str(seed), *settings]  # fmt: skip


def run_all(sweep: Sweep, out: Path, jobs: int) -> None:
    """Run what is not finished, `jobs` at a time, each on its share of the cores; output goes to <run>/log.txt."""
    threads = str(max(1, (os.cpu_count() or 1) // jobs))

    def one(job: tuple[str, dict, int]) -> str | None:
        name, changes, seed = job
        place = folder(out, name, seed)
        place.mkdir(parents=True, exist_ok=True)
        print(f"{place} ...", flush=True)
        with open(place / "log.txt", "w") as log:
            environment = {**os.environ, "OMP_NUM_THREADS": threads}
            done = subprocess.run(
                command(sweep, changes, seed, place), stdout=log, stderr=subprocess.STDOUT, env=environment
            )
        return f"{place} failed, see its log.txt" if done.returncode else None

    with ThreadPoolExecutor(jobs) as pool:
        failed = [
            word
            for word in pool.map(one, [(n, c, s) for n, c in sweep.runs.items() for s in sweep.seeds])
            if word
        ]
    if failed:
        raise UserError("; ".join(failed))


def read_curves(run: Path, names: Iterable[str]) -> dict[str, Curve]:
    """Scalars of a run's TensorBoard files; of a step that was written twice, after a resume, the last counts."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    there = events.Tags()["scalars"]
    return {name: {e.step: e.value for e in events.Scalars(name)} if name in there else {} for name in names}


def over_seeds(curves: list[Curve]) -> tuple[list[int], list[float], list[float]]:
    """Steps that all seeds have, mean and standard deviation there."""
    steps = sorted(set.intersection(*(set(curve) for curve in curves)))
    values = [[curve[step] for curve in curves] for step in steps]
    return (
        steps,
        [statistics.fmean(v) for v in values],
        [statistics.stdev(v) if len(v) > 1 else 0.0 for v in values],
    )


def draw(sweep: Sweep, out: Path) -> Path:
    """One panel a scalar, one line a run, its standard deviation over seeds shaded: curves.png."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise UserError("the curves need matplotlib; pip install 'vjepa[plot]'") from error
    figure = Figure(figsize=(4.5 * len(sweep.curves), 3.6), layout="constrained")
    panels = figure.subplots(1, len(sweep.curves), squeeze=False)[0]
    for name in sweep.runs:
        runs = [read_curves(folder(out, name, seed), sweep.curves) for seed in sweep.seeds]
        for panel, tag in zip(panels, sweep.curves, strict=True):
            steps, mean, spread = over_seeds([run[tag] for run in runs])
            (line,) = panel.plot(steps, mean, label=name)
            low, high = ([m + sign * s for m, s in zip(mean, spread, strict=True)] for sign in (-1, 1))
            panel.fill_between(steps, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
            panel.set(title=tag, xlabel="step")
    panels[0].legend(fontsize="small")
    figure.savefig(out / "curves.png", dpi=110)
    return out / "curves.png"


def table(sweep: Sweep, out: Path) -> str:
    """Markdown: first and last value of every scalar, mean and standard deviation over seeds."""
    lines = ["| run | " + " | ".join(sweep.curves) + " |", "|---" * (len(sweep.curves) + 1) + "|"]
    for name in sweep.runs:
        runs = [read_curves(folder(out, name, seed), sweep.curves) for seed in sweep.seeds]
        cells = [first_and_last(*over_seeds([run[tag] for run in runs])) for tag in sweep.curves]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def first_and_last(steps: list[int], mean: list[float], spread: list[float]) -> str:
    if not steps:
        return "not logged"
    return f"{mean[0]:.3f} -> {mean[-1]:.3f}" + (f" ± {spread[-1]:.3f}" if any(spread) else "")


def run_sweep(file: Path, *, out: Path | None = None, jobs: int = 1) -> None:
    """Run a sweep, draw its curves and print its table.

    Args:
        file: The sweep, a YAML file as in `vjepa/sweep.py`.
        out: Folder for its runs; runs/<name of the file> if not given.
        jobs: Runs at a time, which share the cores.
    """
    sweep, out = read_sweep(file), out or Path("runs") / file.stem
    run_all(sweep, out, jobs)
    text = table(sweep, out)
    (out / "table.md").write_text(text + "\n")
    print(f"{text}\ncurves: {draw(sweep, out)}")
