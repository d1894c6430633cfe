"""The command `landscape`: the energy around a true action of a recorded trajectory.

    vjepa landscape --trajectory FILE.npz --encoder FILE --ac FILE --out DIR

The trajectory holds `observations` (t h w c, uint8) and `states` (t Ds), maybe with a leading axis of one
episode. The goal is a later frame. The true action is computed from the states.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from vjepa.data.array_files import read_arrays
from vjepa.data.transforms import centre_box, crop, normalise
from vjepa.drawing.outputs import check_folder
from vjepa.errors import check_positive, damage_as_error, require
from vjepa.planning.landscape import Landscape, LandscapeConfig, energy_landscape
from vjepa.planning.landscape_figure import plot_landscape, swept_axes
from vjepa.planning.load import load_world_model
from vjepa.planning.world_model import WorldModel, WorldModelConfig
from vjepa.robots.pose import pose_delta
from vjepa.weights.card import read_card


class Trajectory(NamedTuple):
    """The images and states of one episode."""

    frames: UInt8[Tensor, "t c h w"]
    states: Float[Tensor, "t Ds"]


def landscape(
    *,
    trajectory: Path,
    encoder: Path,
    ac: Path,
    out: Path,
    size: int | None = None,
    start: int = 0,
    horizon: int = 1,
    sweep: LandscapeConfig = LandscapeConfig(),
    world: WorldModelConfig = WorldModelConfig(),
) -> None:
    """Write the energy over a plane of actions, `landscape.npz` and `landscape.png`.

    Args:
        trajectory: The episode, `.npz` with observations and states.
        encoder: A stage's export, Meta's `.pt` or a Hugging Face directory.
        ac: Export of an AC stage, Meta's `.pt`, or `demo`.
        out: Folder to write to.
        size: Height and width, pixels, to which frames are centre-cropped and resized; not given: those of
            training.
        start: Frame to start from.
        horizon: Actions from the start to the goal.
        sweep: The plane of actions.
        world: Memory to use, and the scales of the energy.
    """
    check_positive(size=size, horizon=horizon)
    require(start >= 0, f"--start {start} is a frame, counted from 0")
    check_folder(out)
    model = load_world_model(encoder, ac, world, size)
    result = trajectory_landscape(model, read_trajectory(trajectory), sweep, start, horizon)
    result.save(out / "landscape.npz")
    plot_landscape(result, swept_axes(model.schema, sweep), out / "landscape.png")

    least, truth = (", ".join(f"{value:.3f}" for value in point) for point in (result.minimum, result.truth))
    print(
        f"{out / 'landscape.png'}: minimum at ({least}), true action ({truth}), "
        f"{np.degrees(result.angle):.0f} degrees apart; weights: {read_card(ac).name}"
    )


def read_trajectory(path: Path) -> Trajectory:
    """Frames and states of one episode. Raises UserError if the file is missing or holds something else."""
    with damage_as_error(path, advice="give an .npz with observations and states"):
        return _trajectory_of(path, _read_arrays(path))


def _trajectory_of(path: Path, arrays: dict[str, np.ndarray]) -> Trajectory:
    frames = arrays["observations"]
    states = arrays["states"]
    if frames.ndim == 5 and states.ndim == 3 and len(frames) == len(states) == 1:
        # The public example trajectory is stored as a batch of one episode.
        frames = frames[0]
        states = states[0]

    are_frames = frames.ndim == 4 and frames.dtype == np.uint8
    are_states = states.ndim == 2 and len(states) == len(frames)
    require(
        are_frames and are_states and len(frames) > 1,
        f"{path}: observations {frames.dtype} {frames.shape} and states {states.shape} are not one episode "
        "of two or more steps, (t h w c) uint8 and (t numbers)",
    )
    states = torch.from_numpy(states).float()
    finite = bool(states.isfinite().all())
    require(finite, f"{path}: a state is NaN or infinite; cut the trajectory to what was measured")
    return Trajectory(rearrange(torch.from_numpy(frames), "t h w c -> t c h w"), states)


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    require(path.is_file(), f"{path} is no file; give an .npz with observations and states")
    return read_arrays(path, ["observations", "states"], "give observations and states")


def trajectory_landscape(
    world: WorldModel, trajectory: Trajectory, config: LandscapeConfig, start: int, horizon: int
) -> Landscape:
    """The energy of reaching frame `start + horizon` from frame `start`, around the actions that were taken.

    Raises UserError if these frames are not all in the trajectory, or if nothing says how large images are.
    """
    size = world.size
    require(size is not None, "the weights do not say how large their images are; give --size")
    end = start + horizon + 1
    frames = trajectory.frames[start:end]
    states = trajectory.states[start:end]
    require(len(frames) == horizon + 1, f"frames {start} to {start + horizon} are not all in the trajectory")

    square = crop(frames, centre_box(*frames.shape[-2:], 1.0), size, flip=False)
    images = rearrange(normalise(square[None]), "1 c t h w -> t c h w")
    tokens = world.encode(images[[0, -1]])  # start and goal; frames between them play no part
    actions = pose_delta(states[:-1], states[1:], world.schema)
    return energy_landscape(world.energy(tokens[:1], states[:1], tokens[1:]), actions, config)
