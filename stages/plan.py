"""Closed-loop planning to goal images in the demo world, beside honest baselines (V-JEPA 2, section 4).

    python -m stages.plan --config conf/plan/quick.yaml --setting.weights.encoder runs/demo/cooldown/model.safetensors \
        --setting.weights.ac runs/demo/ac/model.safetensors --out runs/demo/plan

Nothing is trained here. The worlds' seeds are fixed, and none was recorded; `vjepa.planning.tasks` says what success is,
`vjepa.planning.episodes` what the rows are. Everything found goes to `--out`: `results.json`, written last, a film of one
episode, energy landscapes of held-out steps, and all pictures to TensorBoard.
"""

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import av
import torch
from jsonargparse import auto_cli, set_parsing_settings
from numpy import ndarray
from torch.utils.tensorboard import SummaryWriter

from vjepa.data.lerobot import load_lerobot
from vjepa.errors import UserError, refuse_unless
from vjepa.locate import locate
from vjepa.planning import results
from vjepa.planning.episodes import ROWS, Job, Outcome, Player, Row, Setting, play_all, rows_of
from vjepa.planning.film import film
from vjepa.planning.landscape import plot_landscape
from vjepa.planning.steps import StepsConfig, landscapes, shares
from vjepa.planning.tasks import TaskName

RESULTS = "results.json"


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
        refuse_unless(counts > 0, "protocol: seeds, horizon_seeds and azimuth_seeds must be positive")
        refuse_unless(bool(self.tasks and self.rows), "protocol: give one task and one row, or more")


def plan(
    setting: Setting,
    out: Path,
    data: Path = Path("data/robot/test"),
    protocol: ProtocolConfig = ProtocolConfig(),
    steps: StepsConfig = StepsConfig(),  # noqa: B008
    workers: int = os.cpu_count() or 1,
) -> None:
    """Play, judge and report.

    Args:
        setting: Who plans with what, and in which worlds.
        out: Folder to write to.
        data: Held-out robot episodes, for the energy landscapes.
        protocol: What is measured.
        steps: Which recorded steps get an energy landscape.
        workers: Processes that play episodes.
    """
    begun, rows = time.perf_counter(), rows_of(setting.weights, protocol.rows)
    found: dict[str, list[results.Line]] = {}
    for task in protocol.tasks:
        played = play_all([Job(task, row, seed) for row in rows for seed in range(protocol.seeds)], setting, workers)
        found[task] = results.lines(played, lambda outcome: outcome.job.row)
        tell(found[task], f"{task.replace('_', ' ')}: {protocol.seeds} held-out worlds")
        if task == "reach":
            reached = [outcome for outcome in played if outcome.job.row == "model"]
    if "model" in rows and "reach" in protocol.tasks:
        found |= limits(protocol, setting, workers, reached)
    report = {name: [one._asdict() for one in lines] for name, lines in found.items()}
    if "model" in rows:
        report["energy_landscapes"] = pictures(setting, out, data, protocol, steps)
    report["minutes"] = round((time.perf_counter() - begun) / 60, 2)
    write(out / RESULTS, report)


def limits(protocol: ProtocolConfig, setting: Setting, workers: int, reached: list[Outcome]) -> dict[str, list[results.Line]]:
    """The model's reach by the length of its plans, and by the angle of the camera."""
    found, few = {}, [outcome for outcome in reached if outcome.job.seed < protocol.horizon_seeds]
    if protocol.horizons:
        jobs = [Job("reach", "model", seed, horizon) for horizon in protocol.horizons for seed in range(protocol.horizon_seeds)]
        by_horizon = few + play_all(jobs, setting, workers)
        found["reach_by_horizon"] = results.lines(by_horizon, lambda outcome: f"{outcome.job.horizon} actions ahead")
        tell(found["reach_by_horizon"], "reach, by the length of a plan")
    if protocol.azimuth:
        jobs = [Job("reach", "model", seed, azimuth=protocol.azimuth) for seed in range(protocol.azimuth_seeds)]
        reached = play_all(jobs, setting, workers)
    found["reach_by_camera_angle"] = results.by_angle(reached)
    tell(found["reach_by_camera_angle"], "reach, by the camera's angle to the robot's front")
    return found


def tell(found: list[results.Line], caption: str) -> None:
    print(results.table(found, caption))


def pictures(setting: Setting, out: Path, data: Path, protocol: ProtocolConfig, steps: StepsConfig) -> dict:
    """The film, and the energy landscapes of held-out steps: what share points the right way."""
    torch.set_num_threads(1)
    player, writer = Player(setting), SummaryWriter(out)
    writer.add_image("film", film(player, protocol.tasks[0], "model", protocol.film, out), dataformats="HWC")
    if not steps.steps:
        return {}
    world = player.model("model")
    found = landscapes(world, load_lerobot(locate(data), world.schema), setting.size, steps)
    right = shares(found)
    found[0].save(out / "landscape.npz")
    x, y = (f"change of {world.schema.names[axis]}, {world.schema.units[axis]}" for axis in steps.sweep.axes)
    plot_landscape(found[0], (x, y), out / "landscape.png")
    writer.add_image("landscape", read_picture(out / "landscape.png"), dataformats="HWC")
    writer.close()
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
