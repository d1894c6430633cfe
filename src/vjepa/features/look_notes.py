"""What the page of `look` says of itself: the encoder's card, and what was done, in plain sentences."""

from vjepa.features.look_predictions import hidden_steps
from vjepa.features.look_video import Look
from vjepa.features.look_windows import name_of
from vjepa.weights.card import Card

OURS = "our encoder"
CONTROLS = ("random encoder", "chance")
"""What a probe's score is compared with: the first of these that the file holds."""
WORDS = {
    "weights": "Weights",
    "family": "Written by",
    "parts": "Networks (parameters)",
    "stage": "Training stage",
    "steps": "Training steps",
    "seed": "Seed",
    "clip": "Trained on clips of",
    "data": "Digest of its data",
    "licence": "Licence",
    "commit": "Version of the code",
    "note": "Note",
}


def card_rows(card: Card) -> list[tuple[str, str]]:
    """The card in words, without acting. The page says so where a file lacks something important."""
    known = {what for what, _ in card.rows()}
    rows = [(WORDS[what], value) for what, value in card.rows() if what in WORDS and what != "note"]
    missing = [what for what in ("clip", "data", "licence") if what not in known]
    rows += [(WORDS[what], "the file does not say") for what in missing]
    return rows + probe_rows(card) + [(WORDS["note"], note) for note in card.notes]


def probe_rows(card: Card) -> list[tuple[str, str]]:
    """How well a probe on this encoder does, beside a control; empty if the file does not say."""
    if card.measure is None or OURS not in card.scores:
        return []
    controls = [f", {name} {card.scores[name]:.3f}" for name in CONTROLS if name in card.scores]
    value = f"{card.scores[OURS]:.3f}{''.join(controls[:1])}"
    return [(f"Test {card.measure} of its probe", value)]


def notes_of(look: Look, card: Card) -> list[str]:
    """What was done, one sentence or two for each step of the computation."""
    return [
        *size_notes(look, card),
        *window_notes(look),
        *colour_notes(look),
        *prediction_notes(look, card),
    ]


def size_notes(look: Look, card: Card) -> list[str]:
    """The size of the pictures that the encoder saw, and the size for which it was trained."""
    sizes = sorted({f"{width} x {height}" for height, width in (video.plan.size for video in look.videos)})
    patch = look.videos[0].plan.size[0] // look.videos[0].tokens.shape[1]
    looked = f"The encoder looked at pictures of {' and '.join(sizes)} px, cut into patches of {patch} px."
    if card.clip is None:
        return [f"{looked} Its weights do not say for which size it was trained."]
    trained = f"It was trained on squares of {card.clip.size} px."
    other = "Its positions are rotary, so it takes other sizes too, but it was not trained for them."
    as_trained = sizes == [f"{card.clip.size} x {card.clip.size}"]
    return [f"{looked} {trained}" if as_trained else f"{looked} {trained} {other}"]


def window_notes(look: Look) -> list[str]:
    """How the videos were cut into windows, and what is not shown."""
    if all(video.plan.still for video in look.videos):
        return ["For the encoder, an image is a single moment."]
    timing = look.timing
    length = timing.steps * timing.step_seconds
    notes = [
        f"It saw windows of {timing.clip.frames} frames at {timing.clip.fps:g} frames per second "
        f"({length:g} s), one after another. Each gives {timing.steps} moments of {timing.step_seconds:g} "
        "s, and the page blends the colours from one moment to the next. Each token depends on its whole "
        "window, also on what comes later in it. So a cut changes the colours of its whole window."
    ]
    for video in look.videos:
        shown = len(video.plan.pieces)
        if video.plan.left_out:
            notes.append(
                f"{name_of(video.plan.row)} has {shown + video.plan.left_out} windows in "
                f"{video.plan.duration:.0f} s. Shown are {shown} of them, evenly spread, so that the page "
                "stays small."
            )
    return notes


def colour_notes(look: Look) -> list[str]:
    """Where colours, foreground and cosines come from."""
    shares = " + ".join(f"{share:.0%}" for share in look.components.shares[:3].tolist())
    place = ("first", "second", "third")[look.foreground.component]
    moving = look.foreground.by_motion
    reason = "with what moves in the picture" if moving else "with being away from the border"
    several = "all videos on this page, which share them" if len(look.videos) > 1 else "the whole video"
    kept = float(look.components.shares.sum())
    return [
        f"Colours are the first three principal components of all tokens of {several}. They hold {shares} "
        "of the variance. They are computed from the tokens as the encoder gives them, without any label. "
        "Colours are blended between neighbouring patches.",
        f"The {place} of the three agrees best {reason}: it ranks a {'moving' if moving else 'central'} "
        f"patch above another one in {look.foreground.agreement:.0%} of pairs (chance: 50%). It runs from "
        "blue to orange. One threshold for all moments (Otsu's) separates foreground from background. The "
        "other two components run from dark to light and from magenta to green.",
        "The mean of all tokens is subtracted from each before cosines are computed. The page uses "
        f"{len(look.components.axes)} components ({kept:.1%} of the variance) as 8-bit numbers, so its "
        f"cosines are off by {look.cosine_error:.3f} on average.",
    ]


def prediction_notes(look: Look, card: Card) -> list[str]:
    """What the predictor was given, and what it is compared with."""
    if all(video.errors is None for video in look.videos):
        if "predictor" not in card.parts:
            return ["There is no prediction, because these weights hold no predictor."]
        return ["There is no prediction, because the videos end before the part that is hidden."]
    hidden = hidden_steps(look.timing.steps)
    has_student = {"student", "ema"} <= set(card.parts)
    reader = "The trained (student) encoder" if has_student else "The averaged encoder"
    return [
        f"{reader} read the first {look.timing.steps - hidden} moments of each window, and the predictor "
        f"predicted the tokens of the last {hidden}. The error is the mean absolute difference to the tokens "
        "that the averaged encoder computes from the whole window, all scaled to a variance of 1. The "
        "baseline repeats the last tokens that were seen."
    ]
