"""Our models inside lmms-eval, so that any of its benchmarks can be run on them.

    lmms_eval --model vjepa --model_args pretrained=runs/demo/vlm --tasks mvp_mini --batch_size 8

lmms-eval finds this file by the entry point in pyproject.toml; nothing else imports it. It hands over prompts
as text, videos as paths and images as PIL images. The package has no extra for it, because lmms-eval 0.7
requires an older PyAV than ours: install it with `pip install --no-deps lmms-eval`, and then what its tasks
import.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import UInt8
from lmms_eval.api.model import lmms
from torch import Tensor

from vjepa.data.transforms import centre_box, crop
from vjepa.errors import require
from vjepa.language.conversations import Conversation, Media, Turn
from vjepa.language.media import decode_media
from vjepa.language.video_chat import VideoChat

LIMIT = 128
"""Most tokens of an answer, if the task sets no limit."""


def manifest():
    """What lmms-eval registers. It imports the class by its path when `--model vjepa` is given."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="vjepa", simple_class_path="vjepa.benchmarks.lmms_eval.VJEPA")


class Request(NamedTuple):
    """The arguments of one of lmms-eval's requests."""

    context: str
    """The prompt."""
    detail: object
    """Settings of the generation, or the continuation to score, or a function from the document to that."""
    visual: Callable[[dict], object] | None
    """From the document to its videos and images."""
    number: int
    task: str
    split: str
    """Where the document is: `task_dict[task][split][number]`."""


class VJEPA(lmms):
    """A finished vlm stage, with the interface of lmms-eval's simple models.

    Args:
        pretrained: Folder of a finished vlm stage.
        batch_size: Prompts at a time, a number.
        max_batch_size: As lmms-eval passes it; not used.
        device: Device of torch, such as cuda.
    """

    # The interface that gives prompt and media apart. The other one gives chat messages.
    is_simple = True

    def __init__(
        self,
        pretrained: str,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        device: str | None = None,
    ) -> None:
        super().__init__()
        require(
            str(batch_size).isdecimal() and int(batch_size) > 0,
            f"batch_size={batch_size}; give a number of prompts",
        )
        self.video_chat = VideoChat.load(pretrained).to(device or "cpu")
        self.size = int(batch_size)

    def generate_until(self, requests: Sequence) -> list[str]:
        """An answer to each request's prompt, cut at the task's own stops."""
        texts = []
        for batch in self.batches(requests):
            rows, clips = self.conversations(batch)
            # The longest limit of a batch serves all its prompts.
            limit = max(request.detail.get("max_new_tokens", LIMIT) for request in batch)
            answers = self.video_chat.answers(rows, clips, limit)
            for request, answer in zip(batch, answers, strict=True):
                texts.append(cut_at_stops(answer, request.detail.get("until", ())))
        return texts

    def loglikelihood(self, requests: Sequence) -> list[tuple[float, bool]]:
        """(loss of the continuation, whether the model would generate it) for each request.

        lmms-eval's own models return their loss here, the mean over the continuation's tokens of minus their
        log-likelihoods, and lmms-eval chooses the option with the smallest value. So it is a loss despite the
        method's name.
        """
        results = []
        for batch in self.batches(requests):
            rows, clips = self.conversations(batch)
            targets = [self.continuation(request) for request in batch]
            rows = [row._replace(options=(target,)) for row, target in zip(rows, targets, strict=True)]
            scores = self.video_chat.option_scores(rows, clips)
            answers = self.video_chat.answers(rows, clips)
            for target, score, answer in zip(targets, scores, answers, strict=True):
                # `option_scores` sums over these tokens, the stop token included.
                length = len(self.video_chat.chat.encode_answer(target))
                results.append((-score[0] / length, answer == target))
        return results

    def generate_until_multi_round(self, requests: Sequence) -> list[str]:
        raise NotImplementedError("tasks of several rounds are not supported")

    def batches(self, requests: Sequence) -> Iterator[list[Request]]:
        parsed = [Request(*request.args) for request in requests]
        for first in range(0, len(parsed), self.size):
            yield parsed[first : first + self.size]

    def document(self, request: Request) -> dict:
        return self.task_dict[request.task][request.split][request.number]

    def continuation(self, request: Request) -> str:
        """The text to score. lmms-eval puts a space before an option, which our chat templates do not."""
        target = request.detail
        return str(target(self.document(request)) if callable(target) else target).strip()

    def conversations(self, requests: Sequence[Request]) -> tuple[list[Conversation], list[Tensor]]:
        """Prompts as conversations that wait for an answer, and the clips of all of them in turn."""
        rows = []
        clips = []
        for request in requests:
            visuals = request.visual(self.document(request)) if request.visual else []
            # The task of TemporalBench returns a single path instead of a list.
            visuals = [visuals] if isinstance(visuals, str) else list(visuals)
            clips += [self.frames(visual) for visual in visuals]
            # Tasks may mark the places of media. Here all media stand before the text.
            text = re.sub(r"<(image|video)>", "", request.context).strip()
            # Every conversation ends with an answer. This one is empty: a prompt ends before it.
            turns = (Turn("user", (*range(len(visuals)), "\n" + text)), Turn("assistant", ("",)))
            media = tuple(
                Media(Path(), None, None) for _ in visuals
            )  # decoded already, so only their number counts
            rows.append(Conversation(media, turns))
        return rows, clips

    def frames(self, visual: object) -> UInt8[Tensor, "t c h w"]:
        """The frames of the video at a path, or a PIL image as the only frame."""
        config = self.video_chat.clip
        if isinstance(visual, str | Path):
            return decode_media(Media(Path(visual), None, None), config)
        # Images may be grey, have a palette or be transparent.
        image = rearrange(torch.from_numpy(np.array(visual.convert("RGB"))), "h w c -> 1 c h w")
        return crop(image, centre_box(*image.shape[-2:], 1.0), config.size, False)


def cut_at_stops(text: str, stops: str | Sequence[str]) -> str:
    """The text before the first of the stops, of which there may be one or several."""
    for stop in [stops] if isinstance(stops, str) else stops:
        text = text.split(stop)[0] if stop else text
    return text.strip()
