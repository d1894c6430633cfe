"""Closed-loop planning to goal images in the demo world, with baselines (V-JEPA 2, section 4).

    python -m stages.plan --config conf/plan/quick.yaml --out runs/demo/plan \
        --setting.weights.encoder runs/demo/cooldown/model.safetensors \
        --setting.weights.ac runs/demo/ac/model.safetensors

Nothing is trained here. The seeds of the worlds are fixed, and no recorded episode uses them.
`vjepa.sim.closed_loop.tasks` defines success, `vjepa.sim.closed_loop.setting` the policies. The folder
`--out` gets the outcomes of all episodes, a film of one episode and an energy landscape, all of them for
TensorBoard, and `results.json` as the last file.
"""

import json
import os
from importlib.util import find_spec
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from vjepa.drawing.folder_lock import owned
from vjepa.drawing.outputs import complete_file
from vjepa.errors import require
from vjepa.robots.readers.lerobot import load_lerobot
from vjepa.robots.schema import StateSchema
from vjepa.robots.windows import Windows
from vjepa.sim.closed_loop.episode_log import EpisodeLog
from vjepa.sim.closed_loop.evaluation import Evaluation, ProtocolConfig
from vjepa.sim.closed_loop.held_out_steps import Step, StepsConfig, frame_pairs, moving_steps
from vjepa.sim.closed_loop.setting import Setting, available_policies, completed
from vjepa.sim.closed_loop.tensorboard import show_film, show_landscapes, show_tables
from vjepa.sim.closed_loop.unused_actions import announce_unused_actions
from vjepa.training.stage_parser import run_command
from vjepa.weights.export import read_schema
from vjepa.weights.settings import settings


def plan(
    setting: Setting,
    out: Path,
    data: Path = Path("data/robot/test"),
    protocol: ProtocolConfig = ProtocolConfig(),
    steps: StepsConfig = StepsConfig(),
    workers: int = os.cpu_count() or 1,
) -> None:
    """Play episodes and report success. Episodes of an interrupted run are not played again.

    Args:
        setting: Who plans with what, and in which worlds.
        out: Folder to write to.
        data: Held-out robot episodes, for the energy landscapes.
        protocol: What is measured.
        steps: Which recorded steps get an energy landscape.
        workers: Processes that play episodes.
    """
    policies = available_policies(setting.weights, protocol.rows)
    setting = completed(setting)
    announce_unused_actions(setting, policies, protocol.tasks)
    plans = "model" in policies
    if plans and steps.steps:
        # Before anything is played, which takes long: a mistake in these settings is reported at once.
        windows, moving = held_out_steps(setting, data, steps)

    with owned(out), SummaryWriter(out) as writer:
        evaluation = Evaluation(setting, EpisodeLog(out / "episodes.jsonl", setting), workers)
        tables = evaluation.tables(policies, protocol)
        report = {name: [row._asdict() for row in rows] for name, rows in tables.items()}
        show_tables(writer, tables)
        if plans:
            show_film(writer, setting, protocol.tasks[0], protocol.film, out)
        if plans and steps.steps:
            report["energy_landscapes"] = show_landscapes(writer, setting, windows, moving, steps, out)
        write_json(out / "results.json", report)


def held_out_steps(setting: Setting, data: Path, steps: StepsConfig) -> tuple[Windows, list[Step]]:
    """The recorded steps that get an energy landscape. Raises UserError if they cannot be read or drawn."""
    # Looked for and not imported, since it is only needed at the end.
    plots = find_spec("matplotlib") is not None
    require(plots, "images of energies need matplotlib; pip install 'vjepa[plot]'")
    # The predictor's own schema: its energies mean something only for states as it was trained on.
    schema = settings(StateSchema, read_schema(setting.weights.ac))
    windows = frame_pairs(load_lerobot(data, schema), setting.size)
    return windows, moving_steps(windows, steps)


def write_json(path: Path, report: dict) -> None:
    """Write the whole file or nothing: its existence says that the evaluation is done."""
    with complete_file(path) as unfinished:
        unfinished.write_text(json.dumps(report, indent=1))
    print(f"{path} is written")


if __name__ == "__main__":
    run_command(plan)
