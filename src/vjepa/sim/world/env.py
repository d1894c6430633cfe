"""The demo world as an environment with Gymnasium's `reset` and `step`."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy import ndarray

from vjepa.errors import UserError, require
from vjepa.robots.euler import euler_to_matrix
from vjepa.sim.world.arm import TIMESTEP, Command, Motion, Simulation
from vjepa.sim.world.poses import matrix_to_rotvec, rotvec_to_matrix, smoothstep
from vjepa.sim.world.render import RenderedImage, Renderer
from vjepa.sim.world.scene import SceneConfig, draw_scene, hand_rotation
from vjepa.sim.world.things import Thing

ACTION_DIM = 7
"""Numbers of an action, and of a state."""
HERTZ = 4
"""Actions per second."""
STEPS = round(1 / HERTZ / TIMESTEP)
"""Physics steps per action."""
MOVING = 0.7
"""Share of an action's time in which the target moves. Then it stands still, so that the arm arrives."""
SETTLE = 100
"""Physics steps in which the objects come to rest before the first observation."""
LOW = np.array([0.25, -0.5, 0.012])
HIGH = np.array([0.75, 0.5, 0.6])
"""Metres (3,): fingertips are not commanded beyond this box."""


@dataclass(frozen=True)
class WorldConfig:
    """How the demo world is filmed, and what is in it."""

    size: int = 128
    """Height and width of the images in pixels."""
    fps: int = 0
    """If not zero, `info["frames"]` holds a video of each action at this rate."""
    steps: int = 200
    """Number of actions after which an episode is truncated."""
    scene: SceneConfig = field(default_factory=SceneConfig)
    """What stands on the table."""


class DemoWorld:
    """A Franka Panda over a table.

    Action (7,): change of the commanded fingertip position in metres, of the commanded rotation as the
    extrinsic xyz Euler angles of R1 R0^T in radians, and of closedness. State (7,): measured xyz in metres,
    extrinsic xyz angles in radians, closedness 0 open .. 1 closed. Observation: {"image": (h, w, 3) uint8,
    "state": (7,)}. There is no task: the reward is 0 and nothing terminates.

        world = DemoWorld()
        observation, info = world.reset(seed=0)
        observation, reward, terminated, truncated, info = world.step([0.05, 0, 0, 0, 0, 0, 0])
    """

    def __init__(self, config: WorldConfig | None = None):
        self.config = config or WorldConfig()
        self.random = np.random.default_rng()
        self.elapsed = -1

    def reset(self, seed: int | None = None) -> tuple[dict, dict]:
        """Draw a new scene. Returns (observation, info).

        The seed decides the whole scene. Without a seed, the draws of the last reset continue.
        """
        if seed is not None:
            self.random = np.random.default_rng(seed)
        self.scene = draw_scene(self.random, self.config.scene)
        self.simulation = Simulation(self.scene.xml)
        position = self.random.uniform((0.4, -0.1, 0.25), (0.5, 0.1, 0.33))
        self.command = Command(position, hand_rotation(0.0), 0.0)
        self.simulation.place(self.command)
        self.simulation.follow(lambda time: self.command, SETTLE)
        self.simulation.steps = 0  # time begins when the objects are at rest
        self.elapsed = 0
        self.renderer = Renderer(self.simulation.model, self.simulation.data, self.scene, self.config.size)
        self.frames = []
        return self.observe(), self.info()

    def step(self, action: ndarray | Sequence[float | int]) -> tuple[dict, float, bool, bool, dict]:
        """Carry out an action, which takes a quarter of a second.

        Returns (observation, reward 0.0, terminated False, truncated, info).
        """
        if self.elapsed < 0:
            raise RuntimeError("step() before reset(): call reset(seed=...) first")
        # An action changes the command, not the measured pose. So a contact that holds the hand back does not
        # shift the targets of later actions.
        target = moved(self.command, check_action(action))
        self.frames = []
        on_frame = self.keep_frame if self.config.fps else None
        self.simulation.follow(between(self.command, target), STEPS, self.config.fps, on_frame)
        self.command = target
        self.elapsed += 1
        return self.observe(), 0.0, False, self.elapsed >= self.config.steps, self.info()

    def keep_frame(self) -> None:
        """Render a frame of video."""
        self.frames.append(self.renderer(self.simulation.data).rgb)

    def observe(self) -> dict[str, ndarray]:
        """Image and measured state of this moment."""
        # `mask` reads the segmentation of this image.
        self.image: RenderedImage = self.renderer(self.simulation.data)
        return {"image": self.image.rgb, "state": self.simulation.state}

    def info(self) -> dict:
        """Time in seconds, the camera, the objects with their positions, the frames since the last action."""
        camera = self.scene.camera
        size = self.config.size
        objects = {
            thing.name: {**thing.label, "position": self.position(thing)} for thing in self.scene.things
        }
        return {
            "time": self.simulation.time,
            "extrinsics": camera.extrinsics,
            "intrinsics": camera.intrinsics(size),
            "objects": objects,
            "frames": np.stack(self.frames) if self.frames else np.zeros((0, size, size, 3), np.uint8),
        }

    def position(self, thing: Thing) -> ndarray:
        """The centre of an object (3,) in metres."""
        return self.simulation.data.body(thing.name).xpos.copy()

    def mask(self, thing: Thing) -> ndarray:
        """Pixels (h, w) bool of the last observation that show an object."""
        return self.image.geom == self.simulation.model.geom(thing.name).id

    def thing(self, name: str) -> Thing:
        """The object of that name."""
        for thing in self.scene.things:
            if thing.name == name:
                return thing
        names = [thing.name for thing in self.scene.things]
        raise UserError(f"no object {name!r} in this world: expected one of {names}")


def check_action(action: ndarray | Sequence[float | int]) -> ndarray:
    """The action as an array (7,) of float64. Raises UserError if it has another shape or is not finite."""
    action = np.asarray(action, np.float64)
    require(
        action.shape == (ACTION_DIM,),
        f"action has shape {action.shape}: expected ({ACTION_DIM},), change of x y z in metres, "
        "of three angles in radians, of closedness",
    )
    require(
        bool(np.isfinite(action).all()),
        f"action {action.tolist()} is not finite: expected seven ordinary numbers, no NaN or infinity",
    )
    return action


def moved(command: Command, action: ndarray) -> Command:
    """The command after an action, kept inside the workspace."""
    # The turn is about the axes of the world, so it multiplies from the left.
    return Command(
        np.clip(command.position + action[:3], LOW, HIGH),
        euler_to_matrix(action[3:6]) @ command.rotation,
        float(np.clip(command.closedness + action[6], 0, 1)),
    )


def between(start: Command, end: Command) -> Motion:
    """A smooth way from one command to the next within one action."""
    # As axis times angle the hand turns at constant axis, the shortest way. Euler angles would not do that.
    turn = matrix_to_rotvec(end.rotation @ start.rotation.T)

    def motion(time: float) -> Command:
        progress = smoothstep(time * HERTZ / MOVING)
        return Command(
            start.position + progress * (end.position - start.position),
            rotvec_to_matrix(progress * turn) @ start.rotation,
            start.closedness + progress * (end.closedness - start.closedness),
        )

    return motion
