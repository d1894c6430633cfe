"""The closed-loop evaluation: which policies play which tasks in which worlds, and the resulting tables.

    evaluation = Evaluation(setting, EpisodeLog(out / "episodes.jsonl", setting), workers=8)
    tables = evaluation.tables(policies, ProtocolConfig(seeds=20))

All policies play in the same worlds. Their seeds are fixed, and no recording has used them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from vjepa.errors import require
from vjepa.sim.closed_loop.episode_log import EpisodeLog
from vjepa.sim.closed_loop.episodes import Job, Outcome
from vjepa.sim.closed_loop.parallel import play_all
from vjepa.sim.closed_loop.results import TableRow, results_table, rows_by_camera_angle, table_rows
from vjepa.sim.closed_loop.setting import POLICY_NAMES, PolicyName, Setting
from vjepa.sim.closed_loop.tasks import TaskName

Tables = dict[str, list[TableRow]]
"""Rows by the name of their table."""


@dataclass(frozen=True)
class ProtocolConfig:
    """What the evaluation measures."""

    tasks: tuple[TaskName, ...] = ("reach",)
    """Tasks that every policy plays, one table each."""
    seeds: int = 100
    """Number of held-out worlds per task."""
    rows: tuple[PolicyName, ...] = POLICY_NAMES
    """Policies, one row of a table each. Policies whose weights are not named are left out."""
    horizons: tuple[int, ...] = ()
    """Further lengths of plans, in actions, for the policy "model" in the task "reach"."""
    horizon_seeds: int = 50
    """Number of worlds for each of these lengths."""
    azimuth: float = 0.0
    """Largest camera angle, in degrees, of a further run of "model" in "reach"; 0 for none.
    Training uses smaller angles."""
    azimuth_seeds: int = 100
    """Number of worlds for that run."""
    film: int = 0
    """Seed of the episode that the film shows."""

    def __post_init__(self) -> None:
        counts = min(self.seeds, self.horizon_seeds, self.azimuth_seeds)
        require(counts > 0, "protocol: seeds, horizon_seeds and azimuth_seeds must be positive")
        require(bool(self.tasks and self.rows), "protocol: give one task and one row, or more")


class Evaluation:
    """Plays the episodes that the log does not hold, and makes tables of them.

    Args:
        setting: Weights, planner and worlds.
        log: Known outcomes. New ones are appended.
        workers: Number of processes that play.
    """

    def __init__(self, setting: Setting, log: EpisodeLog, workers: int) -> None:
        self.setting = setting
        self.log = log
        self.workers = workers

    def tables(self, policies: Sequence[PolicyName], protocol: ProtocolConfig) -> Tables:
        """All tables of the protocol, each printed as soon as its episodes are played."""
        tables = {task: self.policy_table(task, policies, protocol.seeds) for task in protocol.tasks}
        # The further tables vary the model's reach, so they make sense beside the table of that.
        if "model" in policies and "reach" in protocol.tasks:
            if protocol.horizons:
                tables["reach_by_horizon"] = self.horizon_table(protocol)
            tables["reach_by_camera_angle"] = self.camera_table(protocol)
        return tables

    def policy_table(self, task: TaskName, policies: Sequence[PolicyName], seeds: int) -> list[TableRow]:
        """One row for each policy, all in the same worlds."""
        outcomes = self.play([Job(task, policy, seed) for policy in policies for seed in range(seeds)])
        rows = table_rows(outcomes, lambda outcome: outcome.job.policy)
        # Fewer than `seeds` where a world does not allow the task.
        worlds = len({outcome.job.seed for outcome in outcomes})
        print(results_table(rows, f"{task.replace('_', ' ')}: {worlds} held-out worlds"))
        return rows

    def horizon_table(self, protocol: ProtocolConfig) -> list[TableRow]:
        """The model's reach by the length of its plans."""
        usual = self.setting.planner.horizon
        # None stands for the setting's own length. So these jobs are those of the table of policies, and the
        # log holds their outcomes already.
        lengths = [None, *(length for length in protocol.horizons if length != usual)]
        seeds = range(protocol.horizon_seeds)
        outcomes = self.play([Job("reach", "model", seed, length) for length in lengths for seed in seeds])
        rows = table_rows(outcomes, lambda outcome: f"{outcome.job.horizon or usual} actions ahead")
        print(results_table(rows, "reach, by the length of a plan"))
        return rows

    def camera_table(self, protocol: ProtocolConfig) -> list[TableRow]:
        """The model's reach by the camera's angle; without `azimuth`, in the worlds of `policy_table`."""
        # None leaves the camera as in the setting. The log then holds these episodes from the table of
        # policies.
        azimuth = protocol.azimuth or None
        seeds = range(protocol.azimuth_seeds if azimuth else protocol.seeds)
        outcomes = self.play([Job("reach", "model", seed, azimuth=azimuth) for seed in seeds])
        rows = rows_by_camera_angle(outcomes)
        print(results_table(rows, "reach, by the camera's angle to the robot's front"))
        return rows

    def play(self, jobs: list[Job]) -> list[Outcome]:
        """Outcomes of the jobs whose worlds allow their task. Raises UserError if there is none."""
        # The log writes each outcome as it comes, so an interruption loses only the episodes being played.
        self.log.append(play_all(self.log.missing(jobs), self.setting, self.workers))
        outcomes = list(self.log.outcomes(jobs))
        require(
            bool(outcomes),
            f"none of {len(jobs)} worlds allows the task {jobs[0].task!r}; look at setting.scene: it needs "
            "an object to grasp, and a tray to place it in",
        )
        return outcomes
