"""What the page of `look` says of itself: the encoder's card, and what was done, in plain sentences."""

from vjepa.features.look_predictions import hidden_steps
from vjepa.features.look_video import Look
from vjepa.features.look_windows import name_of
from vjepa.weights.card import Card

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
    "score": "Score",
    "note": "Note",
}


def card_rows(card: Card) -> list[tuple[str, str]]:
    """The card in words; what the file does not say is said to be missing."""
    known = {what for what, _ in card.rows()}
    rows = [(WORDS.get(what, what.capitalize()), value) for what, value in card.rows()]
    missing = [what for what in ("clip", "data", "licence") if what not in known]
    return rows + [(WORDS[what], "the file does not say") for what in missing]


def notes_of(look: Look, card: Card) -> list[str]:
    """What was done, one sentence or two for each step of the computation."""
    return [
        *size_notes(look, card),
        *window_notes(look),
        *colour_notes(look),
        *prediction_notes(look, card),
    ]


def size_notes(look: Look, card: Card) -> list[str]:
    """With which size the encoder looked, and with which it was trained."""
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
        return ["A picture that stands still is one moment for the encoder."]
    timing = look.timing
    length = timing.steps * timing.step_seconds
    notes = [
        f"It saw windows of {timing.clip.frames} frames at {timing.clip.fps:g} frames per second "
        f"({length:g} s), one after another. Each gives {timing.steps} moments of {timing.step_seconds:g} "
        "s, and the page blends the colours from one moment to the next. A token knows its whole window, "
        "also what comes later in it. So a window with a cut in it has other colours."
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
        "of the variance. Nothing was taken from the tokens before, and no label was used. Patches are "
        "enlarged smoothly.",
        f"The {place} of the three agrees best {reason}: it ranks a {'moving' if moving else 'central'} "
        f"patch above another one in {look.foreground.agreement:.0%} of pairs (chance: 50%). It runs from "
        "blue to orange. One threshold for all moments (Otsu's) parts foreground from background. The "
        "other two components run from dark to light and from magenta to green.",
        "Cosines are between tokens less the mean of all tokens. The page computes them from "
        f"{len(look.components.axes)} components ({kept:.1%} of the variance) as 8-bit numbers, and is off "
        f"by {look.cosine_error:.3f} on average.",
    ]


def prediction_notes(look: Look, card: Card) -> list[str]:
    """What the predictor was given, and what it is compared with."""
    if all(video.errors is None for video in look.videos):
        if "predictor" not in card.parts:
            return ["There is no prediction, because these weights hold no predictor."]
        return ["There is no prediction, because nothing lasts longer than what the encoder is shown."]
    hidden = hidden_steps(look.timing.steps)
    has_student = {"student", "ema"} <= set(card.parts)
    reader = "The trained (student) encoder" if has_student else "The averaged encoder"
    return [
        f"{reader} read the first {look.timing.steps - hidden} moments of each window, and the predictor "
        f"told the tokens of the last {hidden}. The error is the mean absolute difference to the tokens "
        "that the averaged encoder gives of the whole window, all scaled to a variance of 1. The baseline "
        "repeats the last tokens that were seen."
    ]
