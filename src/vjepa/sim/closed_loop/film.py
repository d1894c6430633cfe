"""A film of one episode of the planner. Every frame shows, side by side:

    the camera's image | tokens imagined for the chosen action | tokens of the goal | the goal | the energy

Tokens are shown by their first three principal components as red, green and blue. Imagined tokens and goals
share these components, so that equal colours mean equal tokens. Where a decoder is given (stage `decode`),
tokens are shown as it decodes them. The energy is the distance of the camera's tokens from the goal's, which
the planner makes small.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from vjepa.drawing.captions import beside, enlarged, picture_table
from vjepa.drawing.curve import growing_curve
from vjepa.drawing.film import write_gif, write_mp4, write_png
from vjepa.errors import UserError
from vjepa.features.token_colours import token_colours
from vjepa.models.encoder import Encoder
from vjepa.planning.energy import distance
from vjepa.planning.world_model import WorldModel
from vjepa.sim.closed_loop.episodes import EpisodeRunner, Job
from vjepa.sim.closed_loop.policies import PlanningPolicy, normalised, state_tensor
from vjepa.sim.closed_loop.setting import PolicyName
from vjepa.sim.closed_loop.tasks import TaskEpisode, TaskName, clip_to_workspace, start_episode
from vjepa.sim.world.env import HERTZ, DemoWorld
from vjepa.weights.load_decoder import load_decoder

SIDE = 160
"""Height and width of an image in the film, in pixels: five of them are as wide as a README."""
TRIES = 100
"""How many seeds are tried until a world allows the task."""
MOMENTS = 6
"""Number of frames of the film in `film.png`."""
HOLD = HERTZ
"""Frames for which the GIF stands still at its end, one second, before it begins again."""

Frames = UInt8[ndarray, "t h w 3"]
Columns = dict[str, UInt8[ndarray, "_t _h _w 3"]]
"""Header -> frames."""


class Reel(NamedTuple):
    """An episode of a planner, step by step; tokens are those of one frame."""

    images: UInt8[ndarray, "t h w 3"]
    """What the camera saw before each action."""
    seen: Float[Tensor, "t n d"]
    """The tokens of these images."""
    imagined: Float[Tensor, "t n d"]
    """The tokens that the world model predicts for the action."""
    goals: list[int]
    """The number of the goal for which the action was planned."""


def film_episode(
    runner: EpisodeRunner,
    task: TaskName,
    name: PolicyName,
    seed: int,
    out: Path,
    decoder: str | Path | None = None,
) -> UInt8[ndarray, "h w 3"]:
    """Play an episode of a planner. Write `film.mp4`, `film.gif` and `film.png`; return the last one's image.

    decoder: Export of the stage `decode` on the planner's encoder, which then shows the tokens.

    If a seed's world does not allow the task, the next seed is taken. Raises UserError if none of 100 does,
    and CheckpointError for a decoder of another encoder.
    """
    episode = first_episode(task, seed, runner.world())
    policy = runner.policy(Job(task, name, seed), episode)
    world_model = runner.world_model(name)
    reel = play(episode, policy, world_model)
    goals = world_model.encode(normalised(episode.goals, world_model.size))
    targets = goals[reel.goals]
    energies = distance(reel.seen, targets, world_model.scales).tolist()
    # Coloured together, because the principal components are those of what is coloured.
    tokens = torch.cat([reel.imagined, targets])
    shown = decoded_images(tokens, decoder, world_model.encoder) if decoder else token_images(tokens)
    imagined, goal_tokens = shown.reshape(2, -1, SIDE, SIDE, 3)
    columns = {
        "camera": enlarged(reel.images, SIDE, SIDE),
        "imagined": imagined,
        "goal tokens": goal_tokens,
        "goal": enlarged(episode.goals[reel.goals], SIDE, SIDE),
        "energy": growing_curve(energies, SIDE, SIDE),
    }
    return save(columns, out)


def play(episode: TaskEpisode, policy: PlanningPolicy, world_model: WorldModel) -> Reel:
    """The same steps as in `EpisodeRunner.play`, whose outcomes keep no images."""
    images = []
    seen = []
    imagined = []
    goals = []
    observation = episode.world.observe()
    for _ in range(episode.steps):
        action = policy.act(observation["image"], observation["state"])
        tokens = world_model.encode(normalised(observation["image"][None], world_model.size))
        images.append(observation["image"])
        seen.append(tokens)
        imagined.append(imagine(world_model, tokens, observation["state"], action))
        goals.append(policy.mpc.goal)
        observation = episode.world.step(clip_to_workspace(episode.world, action))[0]
    return Reel(np.stack(images), torch.cat(seen), torch.cat(imagined), goals)


def imagine(
    world_model: WorldModel, tokens: Float[Tensor, "1 n d"], state: ndarray, action: ndarray
) -> Float[Tensor, "1 n d"]:
    """Tokens of the next frame, as the world model predicts them from tokens, state (7,) and action (7,)."""
    states = state_tensor(state, world_model.schema)[None]
    return world_model.predict(tokens, states, torch.from_numpy(action).float()[None])[0]


def first_episode(task: TaskName, seed: int, world: DemoWorld) -> TaskEpisode:
    """The episode of the first seed, from `seed` on, whose world allows the task."""
    for candidate in range(seed, seed + TRIES):
        episode = start_episode(task, candidate, world)
        if episode is not None:
            return episode
    last = seed + TRIES - 1
    raise UserError(f"none of the worlds {seed} to {last} allows {task!r}, so there is no film")


def token_images(tokens: Float[Tensor, "b n d"]) -> Frames:
    """Tokens of square frames as smooth images."""
    side = int(tokens.shape[1] ** 0.5)
    # One pixel for each token, and the colours between them by interpolation.
    colours = token_colours(tokens, (1, side, side), (side, side))[:, 0]
    return enlarged(np.ascontiguousarray(colours.permute(0, 2, 3, 1).numpy()), SIDE, SIDE)


def decoded_images(tokens: Float[Tensor, "b n d"], source: str | Path, encoder: Encoder) -> Frames:
    """Tokens of square frames as the decoder in a file shows them. encoder: Whose tokens they are."""
    return enlarged(load_decoder(source, encoder).images(tokens).numpy(), SIDE, SIDE)


def save(columns: Columns, out: Path) -> UInt8[ndarray, "h w 3"]:
    """Write the film as MP4 and as GIF, and an image with some of its moments below one another."""
    out.mkdir(parents=True, exist_ok=True)
    film = beside(list(columns.values()), list(columns))
    write_mp4(out / "film.mp4", film, HERTZ)
    held = np.concatenate([film, film[-1:].repeat(HOLD, axis=0)])
    # Tokens are smooth shades of all colours, which a GIF without dots shows as stripes.
    write_gif(out / "film.gif", held, HERTZ, colours=256, dither=True)

    moments = np.linspace(0, len(film) - 1, min(MOMENTS, len(film))).round().astype(int)
    rows = [[frames[moment] for frames in columns.values()] for moment in moments]
    times = [f"{moment / HERTZ:.2f} s" for moment in moments]
    image = picture_table(rows, times, list(columns))
    write_png(out / "film.png", image)
    return image
