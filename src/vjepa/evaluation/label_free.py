"""What an encoder has learned from video without labels, beside an encoder that was never trained.

order        of a clip and the same frames shuffled: which is which?
speed        of a clip and its middle played at half the speed: which is which?
neighbours   is the nearest to a half of a clip, among all halves of all clips, its other half?

The first two are forced choices by a linear read-out of frozen features, cross-validated over clips; chance
is one half. They ask for motion, which a single frame does not show. `neighbours` asks whether features tell
videos apart. Pixels alone do that well, so an untrained encoder is hard to beat there, and the verdict does
not count it. To play a clip backwards is no reading: where motions and their reversals are equally frequent,
as in the demo, no features can tell.

    clips = read_unlabelled_clips([read_manifest("videos")], ClipConfig(frames=8, fps=5.0, size=64), 64)
    result = label_free(load_encoder("runs/own/pretrain/model.safetensors"), clips)
    print(result.table(), result.sentence())
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import normalize

from vjepa.evaluation.collapse import effective_rank
from vjepa.evaluation.linear import pool, ridge
from vjepa.evaluation.readouts import encode
from vjepa.evaluation.report import Score
from vjepa.evaluation.tables import text_table
from vjepa.evaluation.unlabelled_clips import FEWEST, UnlabelledClips
from vjepa.models.encoder import Encoder

CELLS = 2
"""Read-outs of motion average tokens in 2 x 2 parts of the frame, one vector for each time step."""
RANK_CLIPS = 16
"""Clips whose tokens the effective rank is computed on."""
COUNTED = ("order", "speed")
"""Readings that the verdict counts."""


@dataclass(frozen=True)
class Reading:
    """A share of right answers, by the encoder and by an untrained encoder of the same architecture."""

    name: str
    ours: float
    untrained: float
    clips: int
    chance: float

    @property
    def verdict(self) -> str:
        """`better` or `worse` where the two 95 % intervals do not touch, else `no difference`."""
        ours = Score(self.name, self.ours, self.clips).interval
        # An untrained encoder below chance is an accident, and to beat it would be one too.
        untrained = Score(self.name, max(self.untrained, self.chance), self.clips).interval
        if ours[0] > untrained[1]:
            return "better"
        return "worse" if ours[1] < untrained[0] else "no difference"


@dataclass(frozen=True)
class LabelFree:
    """All readings of an encoder."""

    readings: list[Reading]
    rank: tuple[float, float]
    """Effective rank of the tokens, ours and untrained. An untrained encoder's may be the higher one."""
    width: int
    loss_over_mean: float | None = None
    """Loss of pretraining over the loss of predicting the mean token, which is 1; None if it is not known."""

    @property
    def clips(self) -> int:
        return self.readings[0].clips

    @property
    def better(self) -> list[Reading]:
        """The readings that the verdict counts, and at which the encoder beats the untrained one."""
        return [
            reading for reading in self.readings if reading.name in COUNTED and reading.verdict == "better"
        ]

    def table(self) -> str:
        """One row for each reading, with its 95 % interval."""
        rows = [("", "ours", "", "untrained", "")]
        for reading in self.readings:
            values = (f"{reading.ours:.2f}", interval(reading.ours, reading.clips))
            control = (f"{reading.untrained:.2f}", interval(reading.untrained, reading.clips))
            rows.append((reading.name, *values, *control))
        rank, untrained = self.rank
        rows.append((f"effective rank (of {self.width})", f"{rank:.1f}", "", f"{untrained:.1f}", ""))
        if self.loss_over_mean is not None:
            rows.append(("loss over mean", f"{self.loss_over_mean:.2f}", "", "1 is the mean", ""))
        caption = f"what the features tell of {self.clips} clips without labels, 95 % interval"
        return text_table(caption, rows, ("<26", ">6", ">15", ">15", ">15"))

    def sentence(self) -> str:
        """Whether pretraining worked, in one sentence."""
        counted = [reading for reading in self.readings if reading.name in COUNTED]
        better = self.better
        rest = ", ".join(reading.name for reading in counted if reading not in better)
        if better:
            proofs = " and ".join(f"{r.name} ({r.ours:.2f} against {r.untrained:.2f})" for r in better)
            return f"it worked: better than an untrained encoder at {proofs}" + (
                f"; no difference is shown at {rest}" if rest else ""
            )
        return f"no better than an untrained encoder at {rest}: {self.advice()}"

    def advice(self) -> str:
        """What to look at when nothing was learned."""
        if self.loss_over_mean is not None and self.loss_over_mean >= 1:
            return (
                "the predictor does no better than the mean; look at collapse/loss_over_mean in TensorBoard"
            )
        if self.clips < 4 * FEWEST:
            return f"{self.clips} clips leave wide intervals; give more video, then more steps"
        return "look at collapse/effective_rank and train/loss in TensorBoard, then train for more steps"

    def write(self, path: Path) -> None:
        """Write everything as JSON."""
        readings = [reading.__dict__ | {"verdict": reading.verdict} for reading in self.readings]
        values = {"effective_rank": self.rank, "width": self.width, "loss_over_mean": self.loss_over_mean}
        report = {"sentence": self.sentence(), "clips": self.clips, "readings": readings} | values
        path.write_text(json.dumps(report, indent=1))


def interval(value: float, clips: int) -> str:
    return "[{:.2f}, {:.2f}]".format(*Score("", value, clips).interval)


def label_free(
    encoder: Encoder, clips: UnlabelledClips, loss_over_mean: float | None = None, seed: int = 0
) -> LabelFree:
    """All readings of a frozen encoder and of an untrained one, which `seed` draws.

    Leaves torch's random state as it was.
    """
    untrained = untrained_like(encoder, seed)
    was_training = encoder.training
    ours = shares(encoder.eval(), clips)
    encoder.train(was_training)
    control = shares(untrained, clips)

    count = len(clips.dense)
    chances = dict.fromkeys(COUNTED, 0.5)
    readings = [
        Reading(name, ours[name], control[name], count, chances.get(name, 1 / (2 * count - 1)))
        for name in ours
    ]
    rank = (token_rank(encoder, clips), token_rank(untrained, clips))
    return LabelFree(readings, rank, encoder.config.width, loss_over_mean)


def untrained_like(encoder: Encoder, seed: int) -> Encoder:
    """An encoder of the same architecture on the same device, with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        untrained = Encoder(encoder.config)
    return untrained.to(next(encoder.parameters()).device).eval()


def shares(encoder: Encoder, clips: UnlabelledClips) -> dict[str, float]:
    """The share of right answers of every reading."""
    plain = pooled(encoder, clips.plain, CELLS)
    altered: dict[str, Callable[[], UInt8[Tensor, "b t c h w"]]] = {
        "order": lambda: clips.shuffled,
        "speed": lambda: clips.slowed,
    }
    result = {name: forced_choice(plain, pooled(encoder, make(), CELLS)) for name, make in altered.items()}
    first, second = clips.halves(encoder.config.tubelet)
    if first.shape[1]:  # a clip of one tubelet has no halves
        result["neighbours in time"] = recall_of_pairs(mean(encoder, first), mean(encoder, second))
    return result


def pooled(encoder: Encoder, clips: UInt8[Tensor, "b t c h w"], cells: int) -> Float[Tensor, "b f"]:
    """Averaged tokens of every time step. Clips are pooled batch by batch, as their tokens may be many."""
    return torch.cat([pool(encode(encoder, batch), cells) for batch in clips.split(16)])


def mean(encoder: Encoder, clips: UInt8[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
    """The average over all tokens of each clip."""
    return torch.cat([encode(encoder, batch).mean(dim=(1, 2, 3)) for batch in clips.split(16)])


def token_rank(encoder: Encoder, clips: UnlabelledClips) -> float:
    tokens = encode(encoder, clips.plain[:: max(1, len(clips.plain) // RANK_CLIPS)][:RANK_CLIPS])
    return float(effective_rank(tokens.flatten(1, 3)))


def forced_choice(plain: Float[Tensor, "b f"], altered: Float[Tensor, "b f"]) -> float:
    """Share of the clips whose own version gets the higher score, by a read-out fitted on other clips."""
    right = 0
    places = torch.arange(len(plain))
    # Neighbours are parts of one video, so a fold is a run of neighbours.
    for held in places.chunk(FEWEST):
        rest = places[(places < held[0]) | (places > held[-1])]
        pairs = torch.stack([plain[rest], altered[rest]], dim=1).flatten(0, 1)
        targets = torch.tensor([1.0, -1.0]).repeat(len(rest))[:, None]
        scores = ridge(pairs, targets, torch.cat([plain[held], altered[held]]))[:, 0]
        right += int((scores[: len(held)] > scores[len(held) :]).sum())
    return right / len(plain)


def recall_of_pairs(first: Float[Tensor, "b d"], second: Float[Tensor, "b d"]) -> float:
    """Share of the first halves whose nearest vector, by cosine, among all others is its second half."""
    both = normalize(torch.cat([first, second]), dim=-1)
    similarity = both[: len(first)] @ both.T
    similarity.fill_diagonal_(-torch.inf)  # itself
    own = torch.arange(len(first)) + len(first)
    return float((similarity.argmax(dim=1) == own).float().mean())
