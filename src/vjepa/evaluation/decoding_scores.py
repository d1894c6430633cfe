"""How like the true frame a decoded picture is: of seen frames, and of frames that a predictor imagines.

Every picture is compared with the camera's frame (real), and what is decoded of predictions also with what is
decoded of the true tokens, since a prediction cannot look better than the decoder lets it:

decoded       the tokens of the true frame, decoded: what the decoder itself loses
imagined      the tokens that the predictor rolls out from the first frame under the true actions, decoded
persistence   the tokens of the first frame, decoded: nothing moves

Each measure is taken over the whole picture and inside masks, at 1, 2, ... T actions after the first frame.
"""

from collections.abc import Iterator, Mapping
from math import inf, log10
from typing import NamedTuple

from einops import repeat
from jaxtyping import Bool, Float
from torch import Tensor

from vjepa import torchvision_ops  # noqa: F401  before torchmetrics imports torchvision

# isort: split
from torchmetrics.functional.image import structural_similarity_index_measure

COMPARISONS = (
    ("decoded", "real"),
    ("imagined", "real"),
    ("persistence", "real"),
    ("imagined", "decoded"),
    ("persistence", "decoded"),
)
"""What is shown, and what it should look like."""
MEASURES = ("mse", "ssim", "error")
"""Mean squared error, structural similarity, mean |difference|; of values from 0 to 1."""
REGIONS = ("picture", "moving", "hand")
"""The whole picture, what moves (`moving_mask`), and a simulator's mask of the hand and what it moves."""
CHANGED = 0.1
"""Difference of a colour, of 0 to 1, from which a pixel counts as changed. Codecs change less."""

Frames = Float[Tensor, "b T c h w"]
Masks = Mapping[str, Bool[Tensor, "_b _T _h _w"]]
"""Region -> the pixels of frames 1 to T; the whole picture is not among them."""
Curves = dict[str, dict[str, dict[str, list[float | None]]]]
"""Comparison -> region -> measure -> a score for each horizon, or None where the region has no pixel."""


class Pictures(NamedTuple):
    """Some windows, values from 0 to 1."""

    real: Float[Tensor, "b t c h w"]
    """As the camera saw them, frames 0 to T."""
    decoded: Float[Tensor, "b t c h w"]
    imagined: Float[Tensor, "b T c h w"] | None
    """Frames 1 to T, imagined from frame 0. None without a predictor."""

    def compared(self) -> list[tuple[str, Frames, Frames]]:
        """Name, what is shown and what it should look like, of every comparison that is possible."""
        future = self.decoded[:, 1:]
        still = self.decoded[:, :1].expand_as(future)
        shown = {"real": self.real[:, 1:], "decoded": future, "persistence": still, "imagined": self.imagined}
        pairs = [(pair, shown[pair[0]], shown[pair[1]]) for pair in COMPARISONS]
        return [(named(*pair), *both) for pair, *both in pairs if all(one is not None for one in both)]


def named(shown: str, truth: str) -> str:
    """The name of a comparison."""
    return f"{shown} beside {truth}"


def moving_mask(clip: Float[Tensor, "b t c h w"]) -> Bool[Tensor, "b T h w"]:
    """Which pixels of frames 1 to T have changed since frame 0. Any recording has this mask.

    By this choice a picture of frame 0 is wrong inside, so `persistence` has its worst error there.
    """
    return (clip[:, 1:] - clip[:, :1]).abs().amax(dim=2) > CHANGED


def score_names(horizons: int) -> list[str]:
    """The names of all scores, as `scores_of` gives them."""
    return [
        key(named(*pair), region, measure, k)
        for pair in COMPARISONS
        for region in REGIONS
        for measure in MEASURES
        for k in range(1, horizons + 1)
    ]


def scores_of(pictures: Pictures, masks: Masks) -> Iterator[tuple[dict[str, Tensor], float]]:
    """The scores of a batch by name, with what their means over batches are to be weighted by."""
    for name, shown, truth in pictures.compared():
        for k in range(shown.shape[1]):
            here = {region: mask[:, k] for region, mask in masks.items()}
            for region, (values, weight) in frame_scores(shown[:, k], truth[:, k], here).items():
                yield {key(name, region, measure, k + 1): v for measure, v in values.items()}, weight


def key(comparison: str, region: str, measure: str, k: int) -> str:
    """The name of one number among the means."""
    return f"{comparison}, {region}, {measure}, {k}"


def frame_scores(
    shown: Float[Tensor, "b c h w"],
    truth: Float[Tensor, "b c h w"],
    masks: Mapping[str, Bool[Tensor, "_b _h _w"]],
) -> dict[str, tuple[dict[str, Tensor], float]]:
    """Region -> its measures, and how many values they are means of; regions without a pixel are left out."""
    shown = shown.float().clamp(0, 1)
    ssim, ssim_map = structural_similarity_index_measure(
        shown, truth, data_range=1.0, reduction="none", return_full_image=True
    )
    maps = {"mse": (shown - truth).square(), "ssim": ssim_map, "error": (shown - truth).abs()}
    # The published measure leaves out the borders, where its window reaches beyond the picture.
    whole = {name: values.mean() for name, values in maps.items()} | {"ssim": ssim.mean()}
    scores = {"picture": (whole, float(len(shown)))}
    for region, mask in masks.items():
        if pixels := int(mask.sum()):
            inside = repeat(mask, "b h w -> b c h w", c=shown.shape[1])
            scores[region] = ({name: values[inside].mean() for name, values in maps.items()}, float(pixels))
    return scores


def psnr(mse: float) -> float:
    """Peak signal-to-noise ratio in dB, of values from 0 to 1; infinite for equal pictures.

    It is taken of the mean squared error over all pictures: the mean of the ratios of single pictures would
    be infinite as soon as one of them is exact.
    """
    return -10 * log10(mse) if mse > 0 else inf


def curves(means: Mapping[str, float], horizons: int) -> Curves:
    """The means of `scores_of` by comparison, region and measure, with `psnr` in place of `mse`."""
    found: Curves = {}
    steps = range(1, horizons + 1)
    for pair in COMPARISONS:
        name = named(*pair)
        for region in REGIONS:
            rows = {m: [means.get(key(name, region, m, k)) for k in steps] for m in MEASURES}
            if any(value is not None for value in rows["mse"]):
                ratios = [None if value is None else psnr(value) for value in rows.pop("mse")]
                found.setdefault(name, {})[region] = {"psnr": ratios} | rows
    return found
