"""Multiblock masks: which tubelets the encoder keeps and which the predictor fills (sections 2.1 and A.3).

A mask kind is a number of blocks of one size, each spanning the whole time axis or a part of it. Tokens under
any block are dropped.

    for view in sample_masks(MaskConfig(), grid, batch=24, seed=0, step=0, rank=0):
        context = encoder(clips, view.keep)
        predictions = predictor(context, view.keep, view.drop, grid)

The clips of one tensor must keep equally many tokens, so lengths are made equal over a group of clips. The
public code cuts every clip to the shortest by taking tokens in time order, which leaves few of the late
frames. Here a random subset is kept. The group is an option of its own, so neither the batch per device nor
the number of devices changes the task.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vjepa.errors import UserError, require
from vjepa.models.grid import Grid

REDRAWS = 100
"""How often clips that would keep nothing are drawn again before the recipe is refused."""


@dataclass(frozen=True)
class BlockConfig:
    """One mask kind."""

    blocks: int
    """Blocks per clip; they may overlap."""
    scale: float
    """Share of the frame's area under one block; 1 is the whole frame."""
    duration: float = 1.0
    """Share of the clip's length under one block; 1 as in the papers, whose blocks span the whole clip."""
    place: Literal["anywhere", "end"] = "anywhere"
    """Where in time a shorter block lies; at the end, it leaves a future to be predicted from the past."""

    def __post_init__(self) -> None:
        possible = self.blocks > 0 and 0 < self.scale <= 1 and 0 < self.duration <= 1
        blocks = f"{self.blocks} blocks of {self.scale} of the frame and {self.duration} of the time"
        require(possible, f"masks.kinds: {blocks}; give 1 or more blocks of shares in (0, 1]")


@dataclass(frozen=True)
class MaskConfig:
    """The mask kinds, and what clips of a batch have in common."""

    # Shares as in section A.3, counts as in the released code.
    kinds: tuple[BlockConfig, ...] = (BlockConfig(8, 0.15), BlockConfig(2, 0.7))
    """Each clip is predicted once under every kind."""
    aspect: tuple[float, float] = (0.75, 1.5)
    """Range of a block's height over width."""
    group: int = 24
    """Clips over which the numbers of kept and of dropped tokens are made equal; the released run used 24."""
    multiple: int = 1
    """Round both numbers down to a multiple of this; with 64, compiled kernels meet few shapes."""

    def __post_init__(self) -> None:
        require(
            len(self.kinds) > 0, "masks.kinds is empty, so nothing would be predicted; give one kind or more"
        )
        require(self.group > 0 and self.multiple > 0, "masks.group and masks.multiple must be positive")
        require(
            0 < self.aspect[0] <= self.aspect[1],
            f"masks.aspect={self.aspect} must be two positive ratios, the smaller one first",
        )


class View(NamedTuple):
    """Token indices in (T H W) order, ascending in every row."""

    keep: Int[Tensor, "b k"]
    drop: Int[Tensor, "b m"]


def sample_masks(
    config: MaskConfig, grid: Grid, batch: int, *, seed: int, step: int, rank: int
) -> list[View]:
    """One view per mask kind for `batch` clips: a pure function of its arguments.

    `rank` numbers the batches of one optimiser step, over devices and accumulated micro-batches alike:
    batches 0..n-1 of size b see the same masks as one batch of n*b. Raises UserError if the batch does not
    divide the group.
    """
    if config.group % batch:
        raise UserError(
            f"masks.group={config.group} is not a multiple of {batch} clips; "
            "split the batch or change the group"
        )
    group, first = divmod(rank * batch, config.group)
    # Philox is a function of key and counter: every device can draw any group without drawing those before.
    key = np.array([seed, step], np.uint64)
    rng = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, group]))

    # All kinds of the whole group are drawn, then this batch's clips are taken out: lengths are those of the
    # group.
    clips = slice(first, first + batch)
    views = [sample_view(kind, config, grid, rng) for kind in config.kinds]
    return [View(keep[clips], drop[clips]) for keep, drop in views]


def sample_view(kind: BlockConfig, config: MaskConfig, grid: Grid, rng: np.random.Generator) -> View:
    """Indices of equal length for one whole group under one mask kind."""
    dropped = rearrange(sample_blocks(kind, config, grid, rng), "b T H W -> b (T H W)")
    # One order serves both: a place is either kept or dropped.
    order = rng.random(dropped.shape)
    keep = equal_subset(~dropped, order, config.multiple)
    drop = equal_subset(dropped, order, config.multiple)
    return View(keep, drop)


def sample_blocks(
    kind: BlockConfig, config: MaskConfig, grid: Grid, rng: np.random.Generator
) -> Bool[np.ndarray, "b T H W"]:
    """Which places of a group's clips lie under a block.

    One block shape is drawn for the group, as in the released sampler. Clips that would keep nothing are
    drawn again. Raises UserError if they still keep nothing after many attempts.
    """
    shape = block_shape(kind, rng.uniform(*config.aspect), grid)
    dropped = place_blocks(kind, shape, grid, config.group, rng)
    for _ in range(REDRAWS):
        empty = dropped.all(axis=(1, 2, 3))
        if not empty.any():
            return dropped
        dropped[empty] = place_blocks(kind, shape, grid, int(empty.sum()), rng)
    T, H, W = grid
    raise UserError(
        f"masks.kinds: {kind.blocks} blocks of {kind.scale:.0%} of the frame and {kind.duration:.0%} of the "
        f"time keep nothing of a grid of {T} times {H}x{W} tokens; use fewer, smaller or shorter blocks, or "
        "larger clips"
    )


def block_shape(kind: BlockConfig, aspect: float, grid: Grid) -> Grid:
    """Time steps, rows and columns of a block of the given shares, at least one and at most the grid.

    aspect: Height over width.
    """
    T, H, W = grid
    area = int(kind.scale * H * W)  # rounded down to whole tokens, as released
    rows = round((area * aspect) ** 0.5)
    columns = round((area / aspect) ** 0.5)
    if kind.scale == 1:
        # The whole frame has no other aspect than its own.
        rows = H
        columns = W
    return max(round(kind.duration * T), 1), min(max(rows, 1), H), min(max(columns, 1), W)


def place_blocks(
    kind: BlockConfig, shape: Grid, grid: Grid, clips: int, rng: np.random.Generator
) -> Bool[np.ndarray, "b T H W"]:
    """The union of each clip's blocks, placed uniformly."""

    def covered(axis: int, first: int = 0) -> Bool[np.ndarray, "b blocks length"]:
        # The end is exclusive, so the last start puts a block flush with the border.
        start = rng.integers(first, grid[axis] - shape[axis] + 1, (clips, kind.blocks, 1))
        place = np.arange(grid[axis])
        return (place >= start) & (place < start + shape[axis])

    rows = covered(1)
    columns = covered(2)
    times = covered(0, first=grid[0] - shape[0] if kind.place == "end" else 0)
    # A block is the product of three intervals, and the union goes over a clip's blocks.
    frame = rearrange(rows, "b s H -> b s 1 H 1") & rearrange(columns, "b s W -> b s 1 1 W")
    return (rearrange(times, "b s T -> b s T 1 1") & frame).any(axis=1)


def equal_subset(
    member: Bool[np.ndarray, "b n"], order: Float[np.ndarray, "b n"], multiple: int
) -> Int[Tensor, "b k"]:
    """Indices of k random members of every row, ascending; k is the least count of any row.

    order: Random numbers that decide the order.
    multiple: k is rounded down to a multiple of this, but not to zero.
    """
    count = int(member.sum(axis=1).min())
    # Fewer members than `multiple` are all kept: rounding to zero would leave nothing to read.
    count = max(count // multiple * multiple, min(count, multiple))
    # Places that are no members sort last. A random subset, because the first in order would be early frames.
    chosen = np.argsort(np.where(member, order, np.inf), axis=1)[:, :count]
    return torch.from_numpy(np.sort(chosen, axis=1))
