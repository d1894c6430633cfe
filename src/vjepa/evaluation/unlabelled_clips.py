"""Unlabelled clips in memory, and what is done to them: shuffled, slowed down, cut in halves."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from vjepa.data.clips import ClipConfig
from vjepa.data.manifest import Manifest
from vjepa.data.windows import WindowClips, windows_of
from vjepa.errors import require

FEWEST = 8
"""Moving clips without which nothing is read: one for each fold of the read-outs."""


class UnlabelledClips(NamedTuple):
    """Spans of video, each as long as a clip, at twice the clip's frames per second."""

    dense: UInt8[Tensor, "b t c h w"]

    @property
    def plain(self) -> UInt8[Tensor, "b t c h w"]:
        """The clips as training sees them, without crops."""
        return self.dense[:, ::2]

    @property
    def shuffled(self) -> UInt8[Tensor, "b t c h w"]:
        """The frames of each clip in another order, the same ones at every call."""
        generator = torch.Generator().manual_seed(0)
        frames = self.plain.shape[1]
        return torch.stack([clip[other_order(frames, generator)] for clip in self.plain])

    @property
    def slowed(self) -> UInt8[Tensor, "b t c h w"]:
        """The middle half of each span at half the speed: as many frames as `plain`."""
        frames = self.plain.shape[1]
        return self.dense[:, frames // 2 : frames // 2 + frames]

    def halves(self, tubelet: int) -> tuple[UInt8[Tensor, "b t c h w"], UInt8[Tensor, "b t c h w"]]:
        """The first and the second half of each clip, in whole tubelets."""
        half = self.plain.shape[1] // 2 // tubelet * tubelet
        return self.plain[:, :half], self.plain[:, half : 2 * half]


def other_order(count: int, generator: torch.Generator) -> Tensor:
    """A random order of `count` frames that is not the order of time."""
    while True:
        order = torch.randperm(count, generator=generator)
        if not torch.equal(order, torch.arange(count)):
            return order


def read_unlabelled_clips(manifests: Sequence[Manifest], clip: ClipConfig, limit: int) -> UnlabelledClips:
    """At most `limit` clips that do not overlap, evenly spread over the manifests.

    Clips that cannot be decoded, and those in which nothing moves, are left out. Raises UserError if fewer
    than `FEWEST` are left.
    """
    require(clip.frames >= 4, f"data.clip.frames={clip.frames}: order and speed need 4 frames or more")
    share = max(1, limit // len(manifests))
    spans = [span for manifest in manifests for span in moving_spans(manifest, clip, share)]
    require(
        len(spans) >= FEWEST,
        f"something moves in only {len(spans)} clips of {clip.frames / clip.fps:g} s; give {FEWEST} or more",
    )
    return UnlabelledClips(torch.stack(spans))


def moving_spans(manifest: Manifest, clip: ClipConfig, limit: int) -> list[UInt8[Tensor, "t c h w"]]:
    """The spans of a manifest, at twice the clip's rate, without those that stand still."""
    dense = replace(clip, frames=2 * clip.frames, fps=2 * clip.fps)
    # Rows are chosen first: to list the windows of a large manifest would open all of its videos.
    table = manifest.table.take(spread(len(manifest), limit))
    windows, _ = windows_of(manifest.with_table(table), dense, overlap=0.0)
    chosen = [windows[i] for i in spread(len(windows), limit)]
    samples = WindowClips(manifest.with_table(table), chosen, dense)
    spans = [samples[i].clip for i in range(len(samples))]
    return [span for span in spans if span is not None and bool((span != span[:1]).any())]


def spread(count: int, limit: int) -> list[int]:
    """At most `limit` numbers below `count`, evenly spread."""
    return np.linspace(0, count - 1, min(limit, count)).round().astype(int).tolist()
