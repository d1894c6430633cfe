"""What every pixel of recorded clips shows, and where the hand is: the targets of dense read-outs.

A film holds colours only. But a row of the manifest identifies its shot. So the shot is simulated again, and
the renderer tells which geom each pixel shows. That takes about a tenth of a second for each clip.

    fit = read_dense_clips("data/demo/train.csv", ClipConfig(frames=10, fps=5.0, size=64), limit=400)
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import mujoco
import numpy as np
import torch
from jaxtyping import Float32, Int, UInt8
from numpy import ndarray

from vjepa.data.clips import ClipConfig
from vjepa.data.sampling import clip_times
from vjepa.errors import require
from vjepa.evaluation.dense_readouts import DenseClips
from vjepa.evaluation.labelled_clips import read_labelled_clips
from vjepa.sim.recording.motion_clips import grip
from vjepa.sim.recording.questions import clip_config
from vjepa.sim.recording.shots import MotionClipConfig, Shot, shot_of
from vjepa.sim.world.arm import TIMESTEP, Simulation
from vjepa.sim.world.looks import Camera
from vjepa.sim.world.panda import BODY_GEOMS, FINGER_GEOMS, JOINT_GEOMS
from vjepa.sim.world.render import Renderer
from vjepa.sim.world.scene import Scene

GEOMS = {
    "room": ("floor", "wall"),
    "table": ("table",),
    "tray": ("tray0", "tray1", "tray2", "tray3", "tray4"),
    "object": (),
    "arm": (*BODY_GEOMS, *JOINT_GEOMS),
    "hand": ("hand", "mount", *FINGER_GEOMS),
}
"""Kinds, and the geoms of each. Objects are those on the table and in the hand, named by their scene.

Fingers and held objects are no kinds of their own: at 64 pixels hardly any token shows little else.
"""
KINDS = tuple(GEOMS)
COLUMNS = ("path", "label", "seed", "held", "metres", "radians", "moving_seconds", "reversed")
"""Columns of the manifest that identify a shot, and say which way it was filmed."""


class Film(NamedTuple):
    """Frames as rendered, before a codec, with what their pixels show."""

    rgb: UInt8[ndarray, "t y x 3"]
    kinds: UInt8[ndarray, "t y x"]
    """Places in KINDS."""
    hand: Float32[ndarray, "t 2"]
    """Row and column of the fingertips in the image, from 0 to 1 from edge to edge; they may be outside."""


def read_dense_clips(path: str | Path, clip: ClipConfig, limit: int) -> DenseClips:
    """At most `limit` clips of a demo world's manifest, spread over it, with the targets of their frames.

    Kinds are as large as the recorded frames. Raises UserError if the manifest is not one of a finished demo
    world, or if another version of the world filmed it.
    """
    settings = Path(path).parent / "done.json"
    require(
        settings.exists(),
        f"{path} is in no finished demo world, which alone can be simulated again: {settings} is missing",
    )
    config = clip_config(json.loads(settings.read_text()))
    labelled = read_labelled_clips(str(path), clip, limit, COLUMNS)

    shown = frames_shown(clip, config)
    rows = zip(*(labelled.columns[name] for name in COLUMNS), strict=True)
    films = [film_of(dict(zip(COLUMNS, row, strict=True)), config, shown) for row in rows]
    kinds = torch.from_numpy(np.stack([film.kinds for film in films]))
    hand = torch.from_numpy(np.stack([film.hand for film in films]))
    return DenseClips(labelled.clips, kinds, hand, KINDS)


def frames_shown(clip: ClipConfig, config: MotionClipConfig) -> Int[ndarray, " t"]:
    """Numbers of the recorded frames that a clip from the middle of a film shows."""
    times = clip_times(0.0, config.frames / config.fps, clip.frames, clip.fps)
    # The last frame that has begun by then. A microsecond, as for the decoder: times are rounded.
    return np.floor((times + 1e-6) * config.fps).astype(int)


def film_of(row: Mapping, config: MotionClipConfig, frames: Int[ndarray, " t"]) -> Film:
    """The frames of those numbers in the clip that a row of the manifest names.

    Raises UserError if no shot has the row's facts.
    """
    shot = shot_of({name: str(value) for name, value in row.items()}, config)
    # The file of a reversed clip begins with the frame that was simulated last.
    numbers = config.frames - 1 - frames if int(row["reversed"]) else frames
    film = replay(shot, config, set(numbers.tolist()))
    # A film is in simulated order, and holds a frame once that a clip may show twice.
    places = np.searchsorted(np.unique(numbers), numbers)
    return Film(*(values[places] for values in film))


def replay(shot: Shot, config: MotionClipConfig, wanted: set[int]) -> Film:
    """Simulate a shot as `motion_clips.film` does, and render the frames of the wanted numbers."""
    simulation = Simulation(shot.scene.xml)
    grip(simulation, shot.passage(0.0), shot.thing)
    renderer = Renderer(simulation.model, simulation.data, shot.scene, config.size)
    kinds = kinds_of_geoms(simulation.model, shot.scene)
    frames = []
    numbers = iter(range(config.frames))

    def on_frame() -> None:
        if next(numbers) in wanted:
            image = renderer(simulation.data)
            hand = place_in_image(simulation.state[:3], shot.scene.camera)
            frames.append((image.rgb, kinds[image.geom], hand))

    on_frame()  # `follow` reports the frames after time zero
    simulation.steps = 0
    steps = round((config.frames - 1) / config.fps / TIMESTEP)
    simulation.follow(shot.passage, steps, config.fps, on_frame)
    return Film(*(np.stack(values) for values in zip(*frames, strict=True)))


def kinds_of_geoms(model: mujoco.MjModel, scene: Scene) -> UInt8[ndarray, " n"]:
    """The place in KINDS of every geom, by id; the last one is that of the sky, whose id is -1."""
    kinds = {geom: kind for kind, geoms in GEOMS.items() for geom in geoms}
    kinds |= {thing.name: "object" for thing in scene.things}
    names = [model.geom(number).name for number in range(model.ngeom)]
    return np.array([*(KINDS.index(kinds[name]) for name in names), KINDS.index("room")], np.uint8)


def place_in_image(point: ndarray, camera: Camera) -> Float32[ndarray, "2"]:
    """Row and column of a point (3,) in metres, from 0 to 1 from edge to edge of the image."""
    x, y, z = camera.intrinsics(1) @ camera.rotation.T @ (point - camera.position)
    return np.array([y / z, x / z], np.float32)
