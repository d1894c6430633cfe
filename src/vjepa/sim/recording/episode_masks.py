"""Which pixels of recorded robot episodes show the hand, or an object that it moves: masks for scores.

A film holds colours only. But a seed identifies the world of an episode and what happens in it. So the
episode is played again, and the renderer tells which geom each pixel shows. That takes a quarter of a second
for each episode.

    masks = read_episode_masks(data)        # of a TrajectoryData's test set
    masks.of_batch(batch)                   # b T h w, bool
"""

import json
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from vjepa.robots.trajectory_data import TrajectoryData
from vjepa.robots.window_batches import TrajectoryBatch
from vjepa.sim.recording.dense_targets import GEOMS
from vjepa.sim.recording.lerobot_writer import EpisodeRows
from vjepa.sim.recording.robot_episodes import draw_actions, read_rows
from vjepa.sim.world.env import DemoWorld, WorldConfig
from vjepa.sim.world.looks import Viewpoints
from vjepa.sim.world.scene import SceneConfig
from vjepa.weights.settings import settings

MOVED = 0.01
"""Metres from its place in a window's first frame from which an object counts as moved."""
AGREES = 2e-3
"""Metres, or radians, by which arm and objects of a frame that is simulated again may be elsewhere."""


class EpisodeMasks(NamedTuple):
    """What the pixels of an episode's frames show, simulated again."""

    states: Float[ndarray, "t s"]
    """Measured states of the arm."""
    places: Float[ndarray, "t o 3"]
    """Centres of the objects in metres."""
    hand: Bool[ndarray, "t h w"]
    things: Bool[ndarray, "t o h w"]
    """For each object."""

    def of_window(self, rows: list[int]) -> Bool[ndarray, "t h w"]:
        """The hand, and objects that have moved since the first of these rows, at each of them."""
        places = self.places[rows]
        moved = np.linalg.norm(places - places[:1], axis=-1) > MOVED
        return self.hand[rows] | (self.things[rows] & moved[..., None, None]).any(axis=1)

    def as_recorded(self, recorded: EpisodeRows) -> Bool[ndarray, " t"]:
        """At which rows arm and objects are where they were recorded.

        Another version of the world, or of MuJoCo, may play an episode in another way.
        """
        count = self.places.shape[1]  # the columns of a recording have room for more objects
        objects = self.places - places_of(recorded)[:, :count]
        off = np.concatenate([self.states - recorded.states, objects.reshape(-1, 3 * count)], axis=1)
        return np.abs(off).max(axis=1) < AGREES


class RecordedMasks:
    """Masks of the episodes of one recorded data set, each simulated when it is first asked for."""

    def __init__(self, config: WorldConfig, episodes: list[EpisodeRows]) -> None:
        """
        Args:
            config: The world, in images as large as the frames that are scored.
            episodes: Rows of every episode in use.
        """
        self.config = config
        self.episodes = episodes
        self.masks = lru_cache(maxsize=8)(self.replay)  # windows of an episode stand side by side

    def of_window(self, episode: int, rows: list[int]) -> Bool[ndarray, "t h w"]:
        """Where the hand and moved objects are in some rows of an episode.

        Nowhere at a row at which the simulation differs from the recording.
        """
        masks = self.masks(episode)
        same = masks.as_recorded(self.episodes[episode])[rows]
        return masks.of_window(rows) & same[:, None, None]

    def of_batch(self, batch: TrajectoryBatch) -> Bool[Tensor, "b T h w"]:
        """The masks of the windows of a batch, of all frames but the first, on the device of the batch."""
        windows = zip(batch.episode.tolist(), batch.rows.tolist(), strict=True)
        masks = np.stack([self.of_window(episode, rows)[1:] for episode, rows in windows])
        return torch.from_numpy(masks).to(batch.clip.device)

    def replay(self, episode: int) -> EpisodeMasks:
        """Play an episode as `robot_episodes.play_episode` did."""
        rows = self.episodes[episode]
        seed = int(rows.seeds[0])
        world = DemoWorld(self.config)
        world.reset(seed=seed)
        # Not the recorded actions: differences of commands are rounded, which a grasp is sensitive to.
        _, actions = draw_actions(rows.kinds[0], world, np.random.default_rng([seed, 1]))
        frames = [frame_of(world)]
        for action in islice(actions, len(rows.states) - 1):
            world.step(action)
            frames.append(frame_of(world))
        return EpisodeMasks(*(np.stack(values) for values in zip(*frames, strict=True)))


def places_of(recorded: EpisodeRows) -> Float[ndarray, "t o 3"]:
    """The recorded centres of objects, also of those that are not there."""
    return recorded.objects.reshape(len(recorded.objects), -1, 3)


def frame_of(world: DemoWorld) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """One frame of `EpisodeMasks`, of the last observation."""
    names = [world.simulation.model.geom(number).name for number in range(world.simulation.model.ngeom)]
    hand = np.isin(world.image.geom, [names.index(name) for name in GEOMS["hand"]])
    # A world may be without objects.
    places = np.array([world.position(thing) for thing in world.scene.things]).reshape(-1, 3)
    things = np.array([world.mask(thing) for thing in world.scene.things], bool)
    return world.simulation.state, places, hand, things.reshape(-1, *hand.shape)


def read_episode_masks(data: TrajectoryData) -> RecordedMasks | None:
    """The masks of a test set that `vjepa data record-robot` has recorded.

    None of any other data set, and of windows that do not show the whole image.
    """
    folder = data.test_data.folder
    note = folder.parent / "done.json"
    files = sorted((folder.parent / "rows" / folder.name).glob("*.npz"))
    narrowest, widest = data.window.aspect
    if not (note.exists() and files and narrowest <= 1 <= widest):  # recorded images are squares
        return None
    recorded = json.loads(note.read_text())
    config = WorldConfig(size=data.window.size, scene=scene_of(recorded["scene"]))
    episodes = [one for file in files for one in single_episodes(read_rows(file))]
    return RecordedMasks(config, [episodes[number] for number in data.test_data.numbers])


def scene_of(recorded: dict[str, Any]) -> SceneConfig:
    """The settings of scenes in a recorder's `done.json`."""
    return settings(SceneConfig, recorded | {"camera": settings(Viewpoints, recorded["camera"])})


def single_episodes(rows: EpisodeRows) -> list[EpisodeRows]:
    """The rows of a file, episode by episode."""
    ends = np.cumsum(rows.lengths)
    return [
        EpisodeRows(
            *(values[end - length : end] for values in rows[:4]),
            *(values[number : number + 1] for values in rows[4:]),
        )
        for number, (end, length) in enumerate(zip(ends, rows.lengths, strict=True))
    ]
