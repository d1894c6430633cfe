"""The demo world as an environment with Gymnasium's `reset` and `step`, seven numbers per action, four actions a second."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy import ndarray

from vjepa.errors import UserError
from vjepa.sim.world.arm import TIMESTEP, Command, Motion, Simulation
from vjepa.sim.world.poses import euler_to_matrix, matrix_to_rotvec, rotvec_to_matrix, smoothstep
from vjepa.sim.world.render import Picture, Renderer
from vjepa.sim.world.scene import SceneConfig, Thing, draw_scene, hand_rotation

HERTZ = 4
STEPS = round(1 / HERTZ / TIMESTEP)
"""Physics steps per action."""
MOVING = 0.7
"""Share of an action's time in which the target moves; then it stands, so that the arm arrives."""
SETTLE = 100
"""Physics steps in which the objects come to rest before the first observation."""
LOW, HIGH = np.array([0.25, -0.5, 0.012]), np.array([0.75, 0.5, 0.6])
"""Metres (3,): fingertips are not commanded beyond this box."""


@dataclass(frozen=True)
class WorldConfig:
    """How the demo world is filmed and what is in it."""

    size: int = 128
    """Height and width of the pictures in pixels."""
    fps: int = 0
    """If not zero, `info["frames"]` holds a video of each action at this rate, whatever the rate of control."""
    steps: int = 200
    """Actions after which an episode is truncated."""
    scene: SceneConfig = field(default_factory=SceneConfig)
    """What stands on the table."""


class DemoWorld:
    """A Franka Panda over a table.

    Action (7,): change of the commanded fingertip position in metres, of the commanded rotation as the extrinsic xyz Euler
    angles of R1 R0^T in radians, and of closedness. State (7,): measured xyz in metres, extrinsic xyz angles in radians,
    closedness 0 open .. 1 closed. Observation: {"image": (h, w, 3) uint8, "state": (7,)}. There is no task: the reward is 0
    and nothing terminates.
    """

    def __init__(self, config: WorldConfig | None = None):
        self.config = config or WorldConfig()
        self.random = np.random.default_rng()
        self.elapsed = -1

    def reset(self, seed: int | None = None) -> tuple[dict, dict]:
        """A new scene: (observation, info). The seed decides all of it; without one the last seed's sequence goes on."""
        if seed is not None:
            self.random = np.random.default_rng(seed)
        self.scene = draw_scene(self.random, self.config.scene)
        self.simulation = Simulation(self.scene.xml)
        self.command = Command(
            self.random.uniform((0.4, -0.1, 0.25), (0.5, 0.1, 0.33)), hand_rotation(0.0), 0.0
        )
        self.simulation.place(self.command)
        self.simulation.follow(lambda time: self.command, SETTLE)
        self.simulation.steps = self.elapsed = 0
        self.renderer = Renderer(self.simulation.model, self.simulation.data, self.scene, self.config.size)
        self.frames = []
        return self.observe(), self.info()

    def step(self, action: ndarray | Sequence[float | int]) -> tuple[dict, float, bool, bool, dict]:
        """A quarter of a second: (observation, reward 0.0, terminated False, truncated, info)."""
        if self.elapsed < 0:
            raise RuntimeError("step() before reset(): call reset(seed=...) first")
        target = moved(self.command, checked(action))
        self.frames = []
        self.simulation.follow(between(self.command, target), STEPS, self.config.fps, self.film())
        self.command = target
        self.elapsed += 1
        return self.observe(), 0.0, False, self.elapsed >= self.config.steps, self.info()

    def film(self) -> Callable[[], None] | None:
        """What to do when a frame of video is due."""
        if not self.config.fps:
            return None
        return lambda: self.frames.append(self.renderer(self.simulation.data).rgb)

    def observe(self) -> dict[str, ndarray]:
        """Picture and measured state of this moment."""
        self.picture: Picture = self.renderer(self.simulation.data)
        return {"image": self.picture.rgb, "state": self.simulation.state}

    def info(self) -> dict:
        """Time in seconds, where the camera is, where the objects are, and the frames since the last action."""
        camera, size = self.scene.camera, self.config.size
        objects = {
            thing.name: {**thing.label, "position": self.position(thing)} for thing in self.scene.things
        }
        info = {
            "time": self.simulation.time,
            "extrinsics": camera.extrinsics,
            "intrinsics": camera.intrinsics(size),
        }
        frames = np.stack(self.frames) if self.frames else np.zeros((0, size, size, 3), np.uint8)
        return {**info, "objects": objects, "frames": frames}

    def position(self, thing: Thing) -> ndarray:
        """The centre of an object (3,) in metres."""
        return self.simulation.data.body(thing.name).xpos.copy()

    def mask(self, thing: Thing) -> ndarray:
        """Pixels (h, w) bool of the last observation that show an object."""
        return self.picture.geom == self.simulation.model.geom(thing.name).id

    def thing(self, name: str) -> Thing:
        """The object of that name."""
        for thing in self.scene.things:
            if thing.name == name:
                return thing
        raise UserError(
            f"no object {name!r} in this world: expected one of {[thing.name for thing in self.scene.things]}"
        )


def checked(action: ndarray | Sequence[float | int]) -> ndarray:
    """The action as (7,) float64, or one clear sentence."""
    action = np.asarray(action, np.float64)
    if action.shape != (7,):
        raise UserError(
            f"action has shape {action.shape}: expected (7,), change of x y z in metres, of three angles, of closedness"
        )
    if not np.isfinite(action).all():
        raise UserError(
            f"action {action.tolist()} is not finite: expected seven ordinary numbers, no NaN or infinity"
        )
    return action


def moved(command: Command, action: ndarray) -> Command:
    """The command after an action, kept inside the workspace."""
    return Command(
        np.clip(command.position + action[:3], LOW, HIGH),
        euler_to_matrix(action[3:6]) @ command.rotation,
        float(np.clip(command.closedness + action[6], 0, 1)),
    )


def between(start: Command, end: Command) -> Motion:
    """A smooth way from one command to the next within one action."""
    turn = matrix_to_rotvec(end.rotation @ start.rotation.T)

    def motion(time: float) -> Command:
        progress = smoothstep(time * HERTZ / MOVING)
        return Command(
            start.position + progress * (end.position - start.position),
            rotvec_to_matrix(progress * turn) @ start.rotation,
            start.closedness + progress * (end.closedness - start.closedness),
        )

    return motion
