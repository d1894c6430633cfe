"""Closed-loop planning to goal images in the demo world, beside honest baselines (V-JEPA 2, section 4).

    python -m stages.plan --config conf/plan/quick.yaml --setting.weights.encoder runs/demo/cooldown/model.safetensors \
        --setting.weights.ac runs/demo/ac/model.safetensors --out runs/demo/plan

Nothing is trained here. The worlds' seeds are fixed, and none was recorded; `vjepa.sim.closed_loop.tasks` says what success is,
`vjepa.sim.closed_loop.episodes` what the rows are. Everything found goes to `--out`: `results.json`, written last, a film of one
episode, energy landscapes of held-out steps, and all pictures to TensorBoard.
"""

import json
import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from struct import unpack
from textwrap import indent

import av
import torch
from jsonargparse import auto_cli, set_parsing_settings
from numpy import ndarray
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from vjepa.errors import UserError, require
from vjepa.planning.landscape import axis_names, plot_landscape
from vjepa.robots.readers.lerobot import load_lerobot
from vjepa.robots.schema import schema_from
from vjepa.robots.windows import Windows
from vjepa.sim.closed_loop import results
from vjepa.sim.closed_loop.episodes import ROWS, EpisodeRunner, Job, Outcome, Row, Setting, play_all, rows_of
from vjepa.sim.closed_loop.film import animation, film
from vjepa.sim.closed_loop.held_out_steps import (
    Step,
    StepsConfig,
    landscape,
    moving_steps,
    pairs_of_frames,
    shares,
)
from vjepa.sim.closed_loop.journal import EpisodeLog
from vjepa.sim.closed_loop.tasks import TaskName
from vjepa.weights.export import read_schema

RESULTS, EPISODES = "results.json", "episodes.jsonl"


@dataclass(frozen=True)
class ProtocolConfig:
    """What is measured."""

    tasks: tuple[TaskName, ...] = ("reach",)
    """Tasks that every row is put to."""
    seeds: int = 100
    """Held-out worlds per task."""
    rows: tuple[Row, ...] = ROWS
    """Who acts. Rows whose weights are not named are left out."""
    horizons: tuple[int, ...] = ()
    """Further lengths of plans with which the model reaches."""
    horizon_seeds: int = 50
    """Worlds for each of them."""
    azimuth: float = 0.0
    """Degrees within which cameras stand in a further run of the model's reach; 0 for none. Training has seen fewer."""
    azimuth_seeds: int = 100
    """Worlds for that."""
    film: int = 0
    """Seed of the episode that is filmed."""

    def __post_init__(self) -> None:
        counts = min(self.seeds, self.horizon_seeds, self.azimuth_seeds)
        require(counts > 0, "protocol: seeds, horizon_seeds and azimuth_seeds must be positive")
        require(bool(self.tasks and self.rows), "protocol: give one task and one row, or more")


def plan(
    setting: Setting,
    out: Path,
    data: Path = Path("data/robot/test"),
    protocol: ProtocolConfig = ProtocolConfig(),
    steps: StepsConfig = StepsConfig(),
    workers: int = os.cpu_count() or 1,
) -> None:
    """Play, judge and report. Episodes that an interrupted command has played are not played again.

    Args:
        setting: Who plans with what, and in which worlds.
        out: Folder to write to.
        data: Held-out robot episodes, for the energy landscapes.
        protocol: What is measured.
        steps: Which recorded steps get an energy landscape.
        workers: Processes that play episodes.
    """
    rows = rows_of(setting.weights, protocol.rows)
    windows, chosen = held_out(setting, data, steps) if "model" in rows and steps.steps else (None, [])
    arena = Evaluation(setting, EpisodeLog(out / EPISODES, setting), workers)
    found = {task: arena.compare(task, rows, protocol.seeds) for task in protocol.tasks}
    if "model" in rows and "reach" in protocol.tasks:
        found |= limits(arena, protocol)
    report = {name: [one._asdict() for one in lines] for name, lines in found.items()}
    with SummaryWriter(out) as writer:
        tabulate(writer, found)
        if "model" in rows:
            show_film(writer, setting, protocol, out)
        if chosen:
            report["energy_landscapes"] = energy_landscapes(writer, setting, windows, chosen, steps, out)
    write(out / RESULTS, report)


def held_out(setting: Setting, data: Path, steps: StepsConfig) -> tuple[Windows, list[Step]]:
    """The recorded steps that get an energy landscape; before anything is played, because what is wrong here is wrong now."""
    require(
        find_spec("matplotlib") is not None, "pictures of energies need matplotlib; pip install 'vjepa[plot]'"
    )
    schema = schema_from(read_schema(setting.weights.ac))
    windows = pairs_of_frames(load_lerobot(data, schema), setting.size)
    return windows, moving_steps(windows, steps)


class Evaluation:
    """Plays what the journal does not hold, and tells the tables."""

    def __init__(self, setting: Setting, journal: EpisodeLog, workers: int) -> None:
        self.setting, self.journal, self.workers = setting, journal, workers

    def play(self, jobs: list[Job]) -> list[Outcome]:
        """Outcomes of the jobs whose worlds allow their task. Raises UserError if there is none."""
        self.journal.keep(play_all(self.journal.missing(jobs), self.setting, self.workers))
        outcomes = list(self.journal.outcomes(jobs))
        require(bool(outcomes), f"none of {len(jobs)} worlds allows the task {jobs[0].task!r}; look at setting.scene: it "
                      "needs an object to grasp, and a tray to place it in")  # fmt: skip
        return outcomes

    def compare(self, task: TaskName, rows: list[Row], seeds: int) -> list[results.Line]:
        """Every row in the same worlds."""
        played = self.play([Job(task, row, seed) for row in rows for seed in range(seeds)])
        worlds, words = len({outcome.job.seed for outcome in played}), task.replace("_", " ")
        return tell(
            results.lines(played, lambda outcome: outcome.job.row), f"{words}: {worlds} held-out worlds"
        )


def limits(arena: Evaluation, protocol: ProtocolConfig) -> dict[str, list[results.Line]]:
    """The model's reach by the length of its plans, and by the angle of the camera."""
    found, usual = {}, arena.setting.planner.horizon
    if protocol.horizons:
        lengths = [None, *(length for length in protocol.horizons if length != usual)]
        jobs = [
            Job("reach", "model", seed, length)
            for length in lengths
            for seed in range(protocol.horizon_seeds)
        ]
        lines = results.lines(
            arena.play(jobs), lambda outcome: f"{outcome.job.horizon or usual} actions ahead"
        )
        found["reach_by_horizon"] = tell(lines, "reach, by the length of a plan")
    azimuth, seeds = (
        (protocol.azimuth, protocol.azimuth_seeds) if protocol.azimuth else (None, protocol.seeds)
    )
    turned = arena.play([Job("reach", "model", seed, azimuth=azimuth) for seed in range(seeds)])
    found["reach_by_camera_angle"] = tell(
        results.by_angle(turned), "reach, by the camera's angle to the robot's front"
    )
    return found


def tell(found: list[results.Line], caption: str) -> list[results.Line]:
    print(results.table(found, caption))
    return found


# -- TensorBoard -------------------------------------------------------------------------------------------------------


def tabulate(writer: SummaryWriter, found: dict[str, list[results.Line]]) -> None:
    """Every table as text; a curve would have a single point."""
    for name, lines in found.items():
        writer.add_text(name, indent(results.table(lines, name.replace("_", " ")), "    "))


def show_film(writer: SummaryWriter, setting: Setting, protocol: ProtocolConfig, out: Path) -> None:
    """One episode of the model: `film.mp4`, `film.png`, and both as pictures, of which the first moves."""
    torch.set_num_threads(1)
    strip = film(EpisodeRunner(setting), protocol.tasks[0], "model", protocol.film, out)
    writer.add_image("film/strip", strip, dataformats="HWC")
    gif = animation(out / "film.mp4")
    width, height = unpack("<HH", gif[6:10])  # where a GIF says its size
    moving = Summary.Image(encoded_image_string=gif, width=width, height=height, colorspace=3)
    writer.file_writer.add_summary(Summary(value=[Summary.Value(tag="film/moving", image=moving)]))


def energy_landscapes(
    writer: SummaryWriter,
    setting: Setting,
    windows: Windows,
    chosen: list[Step],
    steps: StepsConfig,
    out: Path,
) -> dict:
    """What share of held-out steps points the right way; the first one's landscape as numbers and picture."""
    world = EpisodeRunner(setting).model("model")
    found = [landscape(world, windows, step, steps.sweep) for step in tqdm(chosen, "energy landscapes")]
    right = shares(found)
    found[0].save(out / "landscape.npz")
    plot_landscape(found[0], axis_names(world.schema, steps.sweep), out / "landscape.png")
    writer.add_image("landscape", read_picture(out / "landscape.png"), dataformats="HWC")
    print(f"energy landscapes of {right.steps} held-out steps: minimum in the true action's quadrant in {right.quadrant:.0%}, "
          f"angle between them {right.median_angle:.0f} degrees (median), {right.mean_angle:.0f} (mean)")  # fmt: skip
    return right._asdict()


def read_picture(path: Path) -> ndarray:
    with av.open(str(path)) as file:
        return next(file.decode(video=0)).to_ndarray(format="rgb24")


def write(path: Path, report: dict) -> None:
    """Complete or not there at all: the file says that the evaluation is done."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_text(json.dumps(report, indent=1))
    os.replace(unfinished, path)
    print(f"{path} is written")


if __name__ == "__main__":
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    try:
        auto_cli(plan, as_positional=False)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
