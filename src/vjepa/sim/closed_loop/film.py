"""A film of one episode of the planner. Every frame shows four images side by side:

    the camera's image | tokens predicted for the chosen action | tokens of the goal | the goal

Tokens are shown by their first three principal components as red, green and blue. Predictions and goals share
these components, so that equal colours mean equal tokens.
"""

from io import BytesIO
from pathlib import Path

import av
import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from vjepa.data.video_files import filmstrip, write_png, write_video
from vjepa.errors import UserError
from vjepa.features.token_colours import token_colours
from vjepa.planning.world_model import WorldModel
from vjepa.sim.closed_loop.episodes import EpisodeRunner, Job
from vjepa.sim.closed_loop.policies import normalised, state_tensor
from vjepa.sim.closed_loop.setting import PolicyName
from vjepa.sim.closed_loop.tasks import TaskEpisode, TaskName, clip_to_workspace, start_episode
from vjepa.sim.world.env import HERTZ, DemoWorld

SIDE = 128
"""Least height and width of an image in the film, in pixels."""
TRIES = 100
"""How many seeds are tried until a world allows the task."""
MOMENTS = 6
"""Number of frames of the film in `film.png`."""


def film_episode(
    runner: EpisodeRunner, task: TaskName, name: PolicyName, seed: int, out: Path
) -> UInt8[ndarray, "h w 3"]:
    """Play an episode of a planner. Write `film.mp4` and `film.png`, and return the image of the latter.

    If a seed's world does not allow the task, the next seed is taken. Raises UserError if none of 100 does.
    """
    episode = first_episode(task, seed, runner.world())
    policy = runner.policy(Job(task, name, seed), episode)
    world_model = runner.world_model(name)

    images = []
    goals = []
    predictions = []
    observation = episode.world.observe()
    for _ in range(episode.steps):
        # The same steps as in `EpisodeRunner.play`, whose outcomes keep no images.
        action = policy.act(observation["image"], observation["state"])
        images.append(observation["image"])
        goals.append(policy.mpc.goal)  # the number of the goal for which this action was planned
        predictions.append(predict_next(world_model, observation, action))
        observation = episode.world.step(clip_to_workspace(episode.world, action))[0]

    # All tokens are coloured together, because the principal components are those of what is coloured.
    coloured = colour_images(torch.cat([*predictions, policy.mpc.goals]), runner.setting.size)
    # One prediction for every frame, then one row for every goal.
    predicted, coloured_goals = np.split(coloured, [len(predictions)])
    columns = (np.stack(images), predicted, coloured_goals[goals], episode.goals[goals])
    return save(np.concatenate(columns, axis=2), out)


def predict_next(world_model: WorldModel, observation: dict, action: ndarray) -> Float[Tensor, "1 n d"]:
    """Tokens of the next frame, as the world model predicts them from an observation and an action (7,)."""
    tokens = world_model.encode(normalised(observation["image"][None]))
    states = state_tensor(observation["state"], world_model.schema)[None]
    return world_model.predict(tokens, states, torch.from_numpy(action).float()[None])[0]


def first_episode(task: TaskName, seed: int, world: DemoWorld) -> TaskEpisode:
    """The episode of the first seed, from `seed` on, whose world allows the task."""
    for candidate in range(seed, seed + TRIES):
        episode = start_episode(task, candidate, world)
        if episode is not None:
            return episode
    last = seed + TRIES - 1
    raise UserError(f"none of the worlds {seed} to {last} allows {task!r}, so there is no film")


def colour_images(tokens: Float[Tensor, "b n d"], size: int) -> UInt8[ndarray, "b h w 3"]:
    """Tokens of frames as square images of `size` pixels. Frames are square, so their tokens are too."""
    side = int(tokens.shape[1] ** 0.5)
    return rearrange(token_colours(tokens, (1, side, side), (size, size)), "b 1 c h w -> b h w c").numpy()


def save(frames: UInt8[ndarray, "t h w 3"], out: Path) -> UInt8[ndarray, "h2 w2 3"]:
    """Write the film, and an image with some of its frames below one another."""
    # Pixels are repeated, so that the borders of tokens stay sharp.
    times = max(1, SIDE // frames.shape[1])
    frames = repeat(frames, "t h w c -> t (h i) (w j) c", i=times, j=times)
    out.mkdir(parents=True, exist_ok=True)
    write_video(out / "film.mp4", frames, HERTZ)

    # A film strip lays frames side by side. Exchange height and width to lay them below one another.
    strip = filmstrip(rearrange(frames, "t h w c -> t w h c"), columns=min(MOMENTS, len(frames)))
    image = np.ascontiguousarray(rearrange(strip, "w h c -> h w c"))
    write_png(out / "film.png", image)
    return image


def animated_gif(film: Path) -> bytes:
    """A film as an animated GIF, the only animation that TensorBoard plays."""
    with av.open(str(film)) as file:
        images = [frame.to_image() for frame in file.decode(video=0)]
    buffer = BytesIO()
    milliseconds = round(1000 / HERTZ)
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:], duration=milliseconds, loop=0)
    return buffer.getvalue()
