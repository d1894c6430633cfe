"""Which principal component tells foreground from background, and which tokens lie on its side.

Components are found without knowing what moves. The one that agrees best with motion in the pictures tells
the foreground; in a picture that stands still, the one that agrees best with being away from the border.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

CANDIDATES = 3
"""Components among which the foreground is looked for: those that are colours too."""
MOVING = 0.15
"""Share of the patches of a moment that count as moving: those whose pixels change most."""
BORDER = 8
"""One over the width of the border, as a share of the picture's sides."""
TAIL = 0.1
"""Share of the tokens at either end whose distance does not count for the threshold."""
SOFTNESS = 0.25
"""Width of the edge of the foreground, in standard deviations of the component."""


@dataclass(frozen=True)
class Foreground:
    """One side of one component."""

    component: int
    """Its number, from 0."""
    sign: int
    """1 if the foreground is where the component is large, -1 where it is small."""
    agreement: float
    """Probability that a moving (or central) patch lies further on that side than another; 0.5 is chance."""
    by_motion: bool
    """Whether it was chosen by motion; otherwise by distance from the border."""

    def scores(self, projected: Float[Tensor, "T H W k"]) -> Float[Tensor, "T H W"]:
        """How far each token lies on the side of the foreground, averaged over 3 x 3 patches."""
        side = self.sign * projected[..., self.component]
        return avg_pool2d(side[:, None], 3, stride=1, padding=1, count_include_pad=False)[:, 0]


def patch_motion(frames: UInt8[Tensor, "t c h w"], steps: int, H: int, W: int) -> Float[Tensor, "T H W"]:
    """How much the mean colour of each patch changes from frame to frame, at most within each time step."""
    patches = interpolate(frames.float(), (H, W), mode="area")
    change = (patches[1:] - patches[:-1]).abs().mean(dim=1)
    # The last frame has no next one. Its step has others, except in an image, where nothing moves.
    change = torch.cat([change, torch.zeros_like(patches[:1, 0])])
    return rearrange(change, "(T t) H W -> T t H W", T=steps).amax(dim=1)


def moving_patches(motion: Float[Tensor, "T H W"]) -> Bool[Tensor, "T H W"]:
    """The patches of every moment that move most; none at a moment at which nothing moves."""
    # At each moment for itself: at a cut all patches change, and would outvote the rest of the video.
    least = motion.flatten(1).quantile(1 - MOVING, dim=1)[:, None, None]
    return motion > least


def central_patches(shape: tuple[int, int, int]) -> Bool[Tensor, "T H W"]:
    """The patches that do not lie along the border."""
    T, H, W = shape
    rows = max(H // BORDER, 1)
    columns = max(W // BORDER, 1)
    inner = torch.zeros(H, W, dtype=torch.bool)
    inner[rows : H - rows, columns : W - columns] = True
    return inner.expand(T, H, W)


def find_foreground(
    projected: Sequence[Float[Tensor, "_T _H _W k"]], motion: Sequence[Float[Tensor, "_T _H _W"]]
) -> Foreground:
    """The component, and its side, that agrees best with motion in all videos together."""
    marked = torch.cat([moving_patches(part).flatten() for part in motion])
    by_motion = bool(marked.any())
    if not by_motion:
        marked = torch.cat([central_patches(tuple(part.shape)).flatten() for part in motion])
    flat = torch.cat([part[..., :CANDIDATES].flatten(0, 2) for part in projected])
    agreements = [area_under_curve(column, marked) for column in flat.T]
    best = max(range(len(agreements)), key=lambda number: abs(agreements[number] - 0.5))
    sign = 1 if agreements[best] >= 0.5 else -1
    return Foreground(best, sign, 0.5 + abs(agreements[best] - 0.5), by_motion)


def area_under_curve(scores: Float[Tensor, " n"], marked: Bool[Tensor, " n"]) -> float:
    """Probability that a marked score is greater than an unmarked one; 0.5 if all or none are marked."""
    positive = int(marked.sum())
    negative = len(marked) - positive
    if not positive or not negative:
        return 0.5
    ranks = scores.argsort(stable=True).argsort().double()
    return float((ranks[marked].sum() / positive - (positive - 1) / 2) / negative)


def foreground_masks(scores: Sequence[Float[Tensor, "_T _H _W"]]) -> list[Float[Tensor, "_T _H _W"]]:
    """1 in the foreground, 0 in the background, with a soft edge. All videos share one threshold."""
    flat = torch.cat([part.flatten() for part in scores])
    # The few tokens that lie far away from all others must not decide alone.
    low, high = flat.quantile(torch.tensor([TAIL, 1 - TAIL]))
    threshold = otsu(flat.clamp(low, high))
    width = SOFTNESS * float(flat.std(correction=0)) + 1e-12
    return [((part - threshold) / width).sigmoid() for part in scores]


def otsu(values: Float[Tensor, " n"]) -> float:
    """The threshold that parts values into two groups of the greatest variance between them (Otsu, 1979)."""
    ordered = values.double().sort().values
    number = torch.arange(1, len(ordered) + 1, dtype=torch.float64)
    total = ordered.cumsum(0)
    mean = total[-1] / len(ordered)
    # Between-group variance of the split after each value; after the last one there is no second group.
    between = (total - mean * number) ** 2 / (number * (len(ordered) - number)).clamp(min=1e-12)
    return float(ordered[int(between[:-1].argmax())]) if len(ordered) > 1 else float(ordered[0])
