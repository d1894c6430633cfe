"""Film of an episode: what the camera sees, the step that was chosen as it is imagined, the goal in the same colours, the goal.

Tokens are shown by their three principal components as red, green and blue; imagined and goal tokens share them.
"""

from io import BytesIO
from pathlib import Path

import av
import numpy as np
import torch
from einops import rearrange, repeat
from numpy import ndarray

from vjepa.data.video_files import filmstrip, write_png, write_video
from vjepa.errors import require
from vjepa.features.token_colours import token_colours
from vjepa.sim.closed_loop.episodes import EpisodeRunner, Job, Row
from vjepa.sim.closed_loop.policies import frames
from vjepa.sim.closed_loop.tasks import TaskName, start, within_reach
from vjepa.sim.world.env import HERTZ

SIDE = 128
"""Pixels of a picture in the film, at least."""
TRIES = 100
"""Seeds of which one should allow the task."""


def film(player: EpisodeRunner, task: TaskName, row: Row, seed: int, out: Path) -> ndarray:
    """Play an episode of a planner; write `film.mp4` and `film.png` and return the latter, (h, w, 3) uint8.

    Where a seed's world does not allow the task, the next seed's is taken. Raises UserError if none of the next 100 does.
    """
    stage = player.world(None)
    episode = next(filter(None, (start(task, seed + more, stage) for more in range(TRIES))), None)
    require(
        episode is not None,
        f"none of the worlds {seed} to {seed + TRIES - 1} allows {task!r}, so there is no film",
    )
    policy, world = player.policy(Job(task, row, seed), episode), player.model(row)
    seen, shown, imagined = episode.world.observe(), [], []
    for _ in range(episode.steps):
        image, state = seen["image"], seen["state"]
        action = policy.act(image, state)
        where = world.schema.wrap(torch.from_numpy(state).float())[None]
        imagined.append(
            world.predict(world.encode(frames(image[None])), where, torch.from_numpy(action).float()[None])[0]
        )
        shown.append((image, policy.mpc.goal))
        seen = episode.world.step(within_reach(episode.world, action))[0]
    pictures = colours(torch.cat([*imagined, policy.mpc.goals]), player.setting.size)
    ahead, goals = pictures[: len(imagined)], pictures[len(imagined) :]
    rows = [
        np.concatenate([image, ahead[k], goals[g], episode.goals[g]], axis=1)
        for k, (image, g) in enumerate(shown)
    ]
    return save(np.stack(rows), out)


def colours(tokens: torch.Tensor, size: int) -> ndarray:
    """Tokens of frames as pictures (b, h, w, 3) uint8."""
    side = int(tokens.shape[1] ** 0.5)
    return rearrange(token_colours(tokens, (1, side, side), (size, size)), "b 1 c h w -> b h w c").numpy()


def animation(film: Path) -> bytes:
    """A film as an animated GIF, which is what TensorBoard can play."""
    with av.open(str(film)) as file:
        pictures = [picture.to_image() for picture in file.decode(video=0)]
    buffer = BytesIO()
    pictures[0].save(
        buffer, "GIF", save_all=True, append_images=pictures[1:], duration=round(1000 / HERTZ), loop=0
    )
    return buffer.getvalue()


def save(rows: ndarray, out: Path) -> ndarray:
    """The film, and as a strip six moments of it below one another."""
    times = max(1, SIDE // rows.shape[1])
    large = repeat(rows, "t h w c -> t (h i) (w j) c", i=times, j=times)
    out.mkdir(parents=True, exist_ok=True)
    write_video(out / "film.mp4", large, HERTZ)
    strip = filmstrip(rearrange(large, "t h w c -> t w h c"), columns=min(6, len(large)))
    picture = np.ascontiguousarray(rearrange(strip, "w h c -> h w c"))
    write_png(out / "film.png", picture)
    return picture
