"""Settings of closed-loop episodes: which policies act, with which weights, in which worlds, how they plan.

`PlannerConfig` has the YAML keys `setting.planner.*`. The planning configs are built from it for each task.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from vjepa.errors import require
from vjepa.planning.bounds import ActionBounds
from vjepa.planning.cem import CEMConfig
from vjepa.planning.mpc import MPCConfig
from vjepa.planning.reading_world import StateEnergy
from vjepa.planning.world_model import PAPER_SCALES, WorldModelConfig
from vjepa.sim.closed_loop.tasks import TaskName
from vjepa.sim.recording.robot_episodes import RobotConfig
from vjepa.sim.world.looks import TRIPOD
from vjepa.sim.world.scene import SceneConfig
from vjepa.weights.box import is_box
from vjepa.weights.export import read_acting
from vjepa.weights.facts import ActingFacts, chosen
from vjepa.weights.hub_name import hub_name

PolicyName = Literal[
    "model",
    "tokens",
    "state",
    "untrained",
    "clone",
    "perfect",
    "pixels",
    "true_state",
    "true_object",
    "random",
    "still",
    "oracle",
]
"""Who acts, as results files and recipes name it:

model       the planner on the action-conditioned predictor; with `weights.state` its energy also compares the
            arm's state, as a reader reads it in the pictures of now and of the goal
tokens      the same without the reader: the paper's energy
state       the same without the predictor: nothing is imagined, and the energy compares what is read alone
untrained   as `model`, with an encoder that was never trained, and a predictor and a reader trained on that
clone       goal-conditioned behaviour cloning on the same episodes
perfect     the planner on the simulator itself; the energy compares tokens of the encoder
pixels      the planner on the simulator itself; the energy compares pixels
true_state  the planner on the simulator itself; the energy compares the hand's true place and closedness
true_object the same, and the energy compares the true place of the task's object too
random      actions drawn uniformly from the planner's bounds
still       the no-op policy
oracle      the script of the task, which reads the simulator's state
"""
POLICY_NAMES: tuple[PolicyName, ...] = get_args(PolicyName)
EPISODE_SIZE = 64
"""Height and width, pixels, of images if no weights of `ac` say."""
PICTURE = RobotConfig(out=Path()).size
"""Height and width, pixels, of the camera's pictures for a reader: those of the recorded episodes."""
GRIPPER = 6
"""Dimension of an action that changes the gripper."""


@dataclass(frozen=True)
class PolicyWeights:
    """Exports of the stages. A policy whose files are not named does not take part."""

    encoder: str = ""
    """Export of the frozen encoder."""
    ac: str = ""
    """Export of the AC stage on `encoder`."""
    untrained: str = ""
    """Export of an encoder that was never trained."""
    untrained_ac: str = ""
    """Export of the AC stage on `untrained`."""
    clone: str = ""
    """Export of the clone stage on `encoder`."""
    state: str = ""
    """Export of the state stage on `encoder`. Without it the energy is the paper's."""
    untrained_state: str = ""
    """Export of the state stage on `untrained`."""


SIMULATORS: tuple[PolicyName, ...] = ("perfect", "pixels", "true_state", "true_object")
"""Policies that plan in the simulator itself."""
WEIGHTS_OF: dict[PolicyName, tuple[str, ...]] = {
    "model": ("encoder", "ac"),
    "tokens": ("encoder", "ac", "state"),
    "state": ("encoder", "ac", "state"),
    "untrained": ("untrained", "untrained_ac"),
    "clone": ("encoder", "clone"),
    "perfect": ("encoder",),
}
"""Fields of `PolicyWeights` that a policy needs. The other policies need none."""


@dataclass(frozen=True)
class PlannerConfig:
    """How the planner searches for an action. The defaults suit two CPU cores; `CEMConfig` has the paper's.

    `mpc` hands `samples`, `iterations`, `top`, `horizon`, `std`, `bounds` and `method` to `CEMConfig`, and
    `warm_start` and `threshold` to `MPCConfig`. The world model takes `scales`. The task decides the rest:
    which dimensions are searched, and when sub-goals switch. A field that has the default of its planning
    config refers to it.
    """

    samples: int = 64
    """Number of plans drawn per iteration; the paper has 800."""
    iterations: int = 3
    """Number of rounds of drawing and weighing; the paper has 10."""
    top: int = 8
    """Number of samples with the least energy that make the next mean, for `cem`; the paper has 10."""
    horizon: int = CEMConfig.horizon
    """Number of actions in a plan, of which the first is executed."""
    std: float = 0.05
    """Spread, in metres, with which the search of the hand's motion begins."""
    # The released planner's box; the paper's text has an L1 ball.
    bounds: ActionBounds = ActionBounds(constraint="box")
    """Where actions must lie."""
    scales: tuple[int, ...] | None = None
    """Sides of the squares of tokens whose averages are compared; (1,) is the paper's energy. Not given:
    those that the weights of `ac` name."""
    method: Literal["cem", "mppi"] = CEMConfig.method
    """How samples are weighed."""
    warm_start: bool = MPCConfig.warm_start
    """Begin each search where the last plan left off."""
    threshold: float | None = MPCConfig.threshold
    """Energy below which the next sub-goal begins, instead of at the script's times."""
    state: StateEnergy = StateEnergy()
    """How much the arm's state counts, where `weights.state` reads it."""
    pixel_samples: int = 16
    """Plans drawn per iteration in the simulator itself, where each one is simulated and rendered."""

    def __post_init__(self) -> None:
        # The planning configs refuse impossible values. Build them now, before any episode is played.
        self.mpc("grasp", switch=(1,))
        WorldModelConfig(scales=self.scales)
        require(self.pixel_samples > 0, f"planner.pixel_samples={self.pixel_samples} must be 1 or more")

    def mpc(self, task: TaskName, switch: tuple[int, ...]) -> MPCConfig:
        """Receding-horizon planning over the task's sub-goals, with `switch` actions spent on each."""
        # MPCConfig takes either times or a threshold.
        times = switch if self.threshold is None else ()
        return MPCConfig(self.cem(task), switch=times, threshold=self.threshold, warm_start=self.warm_start)

    def cem(self, task: TaskName) -> CEMConfig:
        """The search of one plan: a reach moves the hand only, the other tasks move the gripper too."""
        # A reach needs no gripper, and every further dimension needs more samples. Rotations are never
        # searched.
        dims = (0, 1, 2) if task == "reach" else (0, 1, 2, GRIPPER)
        return CEMConfig(
            method=self.method,
            samples=self.samples,
            iterations=self.iterations,
            top=self.top,
            horizon=self.horizon,
            searched=dims,
            # Closedness goes from 0 to 1, so a spread of 1 covers all its changes.
            mean=(0.0,) * len(dims),
            std=tuple(1.0 if dim == GRIPPER else self.std for dim in dims),
            bounds=self.bounds,
        )


@dataclass(frozen=True)
class Setting:
    """All that a process needs to play episodes."""

    weights: PolicyWeights
    """Files of the networks."""
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    """How the planner searches."""
    size: int | None = None
    """Height and width in pixels of the encoded images. Not given: those of the AC stage's training."""
    picture: int | None = None
    """Height and width in pixels of the camera's pictures. Not given: those of the recorded episodes, if a
    reader has to see the hand in them; else `size`."""
    # `out` has no default, but the scene does not depend on it.
    scene: SceneConfig = field(default_factory=lambda: replace(RobotConfig(out=Path()).scene, camera=TRIPOD))
    """What worlds are drawn from; by default the scenes of the robot episodes, from a camera in front."""


def completed(setting: Setting) -> Setting:
    """The setting with the sizes and the scales that the weights imply, where it gives none itself."""
    ac = setting.weights.ac
    # Without a planner's weights there is nothing to disagree with.
    acting = read_acting(ac) if ac else ActingFacts(size=setting.size, scales=setting.planner.scales)
    size = chosen(ac, "size", acting.size, setting.size, EPISODE_SIZE)
    scales = chosen(ac, "scales", acting.scales, setting.planner.scales, PAPER_SCALES)
    picture = setting.picture or (
        PICTURE if setting.weights.state or setting.weights.untrained_state else size
    )
    return replace(setting, size=size, picture=picture, planner=replace(setting.planner, scales=scales))


def available_policies(weights: PolicyWeights, names: Sequence[PolicyName]) -> list[PolicyName]:
    """Those of the named policies whose weights are given.

    Raises UserError if a given file does not exist, or if no policy is left.
    """
    available = [name for name in names if all(getattr(weights, key) for key in WEIGHTS_OF.get(name, ()))]
    sentence = f"none of the policies {list(names)} has its weights: name their files in setting.weights"
    require(bool(available), sentence)

    for name in available:
        for key in WEIGHTS_OF.get(name, ()):
            path = getattr(weights, key)
            found = is_box(path) or hub_name(path) or Path(path).exists()
            require(bool(found), f"weights.{key}={path} does not exist")
    return available
