"""python -m vjepa landscape --trajectory FILE.npz --encoder FILE --ac FILE --out DIR: the energy around a true action.

The trajectory holds `observations` (t h w c, uint8) and `states` (t Ds), maybe with a leading axis of one episode. The goal is
a later frame, the swept action the one that the states say was taken.
"""

from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from vjepa.data.transforms import centre_box, crop, normalise
from vjepa.errors import UserError, require
from vjepa.planning.landscape import Landscape, LandscapeConfig, axis_names, energy_landscape, plot_landscape
from vjepa.planning.world_model import WorldModel, WorldModelConfig
from vjepa.robots.pose import pose_delta
from vjepa.robots.schema import END_EFFECTOR, StateSchema, schema_from
from vjepa.weights.export import read_schema
from vjepa.weights.load import load_ac_predictor, load_encoder


class Trajectory(NamedTuple):
    frames: UInt8[Tensor, "t c h w"]
    states: Float[Tensor, "t Ds"]


def read_trajectory(path: Path) -> Trajectory:
    """Frames and states of one episode. Raises UserError if the file is missing or holds something else."""
    require(path.is_file(), f"{path} does not exist; give an .npz with observations and states")
    try:
        with np.load(path) as file:
            arrays = dict(file)
    except (BadZipFile, EOFError, TypeError, ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read as an .npz of plain arrays: {error}") from error
    require(
        {"observations", "states"} <= set(arrays),
        f"{path} holds {list(arrays)}; expected observations and states",
    )
    frames, states = arrays["observations"], arrays["states"]
    if frames.ndim == 5 and len(frames) == 1:
        frames, states = frames[0], states[0]
    fits = (
        frames.ndim == 4 and frames.dtype == np.uint8 and states.ndim == 2 and len(frames) == len(states) > 1
    )
    require(fits, f"{path}: observations {frames.dtype} {frames.shape} and states {states.shape} are not one episode "
                  "of two or more steps, (t h w c) uint8 and (t numbers)")  # fmt: skip
    finite = bool(np.isfinite(states).all())
    require(finite, f"{path}: a state is NaN or infinite; cut the trajectory to what was measured")
    return Trajectory(
        rearrange(torch.from_numpy(frames), "t h w c -> t c h w"), torch.from_numpy(states).float()
    )


def trajectory_landscape(
    world: WorldModel, trajectory: Trajectory, size: int, config: LandscapeConfig, start: int, horizon: int
) -> Landscape:
    """The energy of reaching frame `start + horizon` from frame `start`, around the actions that did."""
    frames, states = (part[start : start + horizon + 1] for part in trajectory)
    require(len(frames) == horizon + 1, f"frames {start} to {start + horizon} are not all in the trajectory")
    frames = crop(frames, centre_box(*frames.shape[-2:], 1.0), size, flip=False)
    images = rearrange(normalise(frames[None]), "1 c t h w -> t c h w")
    tokens = world.encode(images[[0, -1]])
    actions = pose_delta(states[:-1], states[1:], world.schema)
    return energy_landscape(world.energy(tokens[:1], states[:1], tokens[1:]), actions, config)


def schema_of(ac: Path) -> StateSchema:
    """The schema in our export; an upstream file is an end effector's."""
    return END_EFFECTOR if ac.suffix == ".pt" else schema_from(read_schema(ac))


def landscape(
    *,
    trajectory: Path,
    encoder: Path,
    ac: Path,
    out: Path,
    size: int = 256,
    start: int = 0,
    horizon: int = 1,
    sweep: LandscapeConfig = LandscapeConfig(),
    world: WorldModelConfig = WorldModelConfig(),
) -> None:
    """Write the energy over a plane of actions, `landscape.npz` and `landscape.png`.

    Args:
        trajectory: The episode, `.npz` with observations and states.
        encoder: A stage's export, an upstream `.pt` or a Hugging Face directory.
        ac: Export of an AC stage, or an upstream `.pt`.
        out: Folder to write to.
        size: Height and width of the frames as the networks know them; they are centre-cropped and resized to it.
        start: Frame to start from.
        horizon: Actions to the goal.
        sweep: Which plane.
        world: Memory to use.
    """
    schema = schema_of(ac)
    model = WorldModel(load_encoder(encoder), load_ac_predictor(ac), world, schema)
    landscape = trajectory_landscape(model, read_trajectory(trajectory), size, sweep, start, horizon)
    landscape.save(out / "landscape.npz")
    plot_landscape(landscape, axis_names(schema, sweep), out / "landscape.png")
    least, truth = (
        ", ".join(f"{value:.3f}" for value in place) for place in (landscape.minimum, landscape.truth)
    )
    print(
        f"{out / 'landscape.png'}: minimum at ({least}), true action ({truth}), {np.degrees(landscape.angle):.0f} degrees apart"
    )
