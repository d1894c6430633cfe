"""The command `diagnose-planning`: what limits the planner, the model, the energy, or the search?

    vjepa diagnose-planning --tasks grasp --worlds 10

The same search plans with the simulator as its model and four energies, then with the trained model. What a
row loses against the row above it is what its energy, or its model, costs.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from vjepa.drawing.folder_lock import owned
from vjepa.drawing.outputs import check_outputs, complete_file
from vjepa.errors import check_positive, check_workers, counted, require
from vjepa.sim.closed_loop.diagnosed_episode import Diagnosed, Diagnoser
from vjepa.sim.closed_loop.diagnosis_figure import plot_diagnosis
from vjepa.sim.closed_loop.diagnosis_table import DiagnosisRow, diagnosis_row, diagnosis_table
from vjepa.sim.closed_loop.episode_log import EpisodeLog, identity
from vjepa.sim.closed_loop.episodes import Job
from vjepa.sim.closed_loop.parallel import play_all
from vjepa.sim.closed_loop.setting import PlannerConfig, PolicyWeights, Setting, available_policies, completed
from vjepa.sim.closed_loop.tasks import DEVELOPMENT, TASKS, TaskName
from vjepa.weights.box import BOX

DiagnosisName = Literal["true_state", "true_object", "perfect", "pixels", "model"]
"""Who plans, from the energy that knows most to the trained model; `setting` describes each."""
ROWS: tuple[DiagnosisName, ...] = get_args(DiagnosisName)
TOP = 4
"""Samples that make the next mean, as in the demo's recipe; all of them if fewer are drawn."""
LOG = "diagnosed.jsonl"
"""Every episode, as it was played. The evaluation's `episodes.jsonl` has another form."""
REPORT = "diagnosis.json"
FIGURE = "diagnosis.png"


def diagnose_planning(
    *,
    encoder: str = BOX,
    ac: str = BOX,
    tasks: tuple[TaskName, ...] = TASKS,
    rows: tuple[DiagnosisName, ...] = ROWS,
    worlds: int = 10,
    samples: int = 24,
    iterations: int = 3,
    out: Path = Path("diagnosis"),
    workers: int = 1,
) -> None:
    """Play the planner with better and worse energies and models, and print what it loses with each.

    An interrupted diagnosis continues where it stopped. The worlds are of no evaluation that scores.

    Args:
        encoder: A stage's export, or `demo` for the weights in the package.
        ac: Export of the AC stage on that encoder, or `demo`.
        tasks: What is to be done.
        rows: Who plans. The first four have the simulator as their model. Their energies compare the hand's
            true place and closedness; these and the object's place; the encoder's tokens; pixels.
        worlds: Number of worlds for each task.
        samples: Plans drawn per iteration, the same for all rows.
        iterations: Rounds of drawing and weighing.
        out: Folder for the table as JSON, the figure, and the episodes.
        workers: Processes that play episodes.
    """
    check_positive(worlds=worlds, samples=samples, iterations=iterations)
    check_workers(workers, least=1)
    require(find_spec("matplotlib") is not None, "the figure needs matplotlib; pip install 'vjepa[plot]'")
    setting = setting_of(PolicyWeights(encoder=encoder, ac=ac), samples, iterations)
    policies = available_policies(setting.weights, rows)
    check_outputs([out / name for name in (LOG, REPORT, FIGURE)])
    with owned(out):
        log = EpisodeLog(out / LOG, setting, Diagnosed)
        # Each table is printed as soon as its episodes are played.
        tables = {task: diagnose_task(task, policies, worlds, log, setting, workers) for task in tasks}
        write_report(out / REPORT, tables, setting)
        plot_diagnosis(tables, out / FIGURE)
    print(f"{out / REPORT} and {out / FIGURE} are written")


def setting_of(weights: PolicyWeights, samples: int, iterations: int) -> Setting:
    """The demo's planner with one budget, for the simulator as for the trained model."""
    top = min(TOP, samples)
    planner = PlannerConfig(samples=samples, iterations=iterations, top=top, pixel_samples=samples)
    return completed(Setting(weights, planner))


def diagnose_task(
    task: TaskName,
    policies: Sequence[DiagnosisName],
    worlds: int,
    log: EpisodeLog[Diagnosed],
    setting: Setting,
    workers: int,
) -> list[DiagnosisRow]:
    """Print and return one row for each policy, all in the same worlds.

    Raises UserError if no world allows the task.
    """
    seeds = range(DEVELOPMENT, DEVELOPMENT + worlds)
    names = distinct(task, policies)
    # World by world, so that an interruption leaves all rows of some worlds, not all worlds of some rows.
    jobs = [Job(task, name, seed) for seed in seeds for name in names]
    log.append(play_all(log.missing(jobs), setting, workers, Diagnoser))
    played = list(log.outcomes(jobs))
    require(bool(played), f"none of {worlds} worlds allows the task {task!r}; give more --worlds")
    rows = [diagnosis_row(name, [one for one in played if one.job.policy == name]) for name in names]
    budget = f"{setting.planner.samples} samples x {setting.planner.iterations}"
    title = f"{task.replace('_', ' ')}: {counted(rows[0].episodes, 'world')} of development, {budget}"
    print(diagnosis_table(rows, title), flush=True)
    return rows


def distinct(task: TaskName, policies: Sequence[DiagnosisName]) -> list[DiagnosisName]:
    """The policies without those that would do the same as another: a reach has no object."""
    same = task == "reach" and "true_state" in policies
    return [name for name in policies if not (same and name == "true_object")]


def write_report(path: Path, tables: dict[TaskName, list[DiagnosisRow]], setting: Setting) -> None:
    """Write all that the tables and the figure show, and what they depend on."""
    rows = {task: [asdict(row) for row in table] for task, table in tables.items()}
    report = {"setting": identity(setting), "tasks": rows}
    with complete_file(path) as unfinished:
        unfinished.write_text(json.dumps(report, indent=1, default=str))
