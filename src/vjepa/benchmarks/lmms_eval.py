"""Our models inside lmms-eval, so that any of its benchmarks can be run on them.

    lmms_eval --model vjepa --model_args pretrained=runs/demo/vlm --tasks mvp_mini --batch_size 8

lmms-eval finds this file by the entry point in pyproject.toml; nothing else imports it. It hands over prompts as text and
videos as paths, pictures as PIL images. It is no extra of ours, because lmms-eval 0.7 wants an older PyAV than we do: install
it with `pip install --no-deps lmms-eval`, and what its tasks import.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from lmms_eval.api.model import lmms
from torch import Tensor

from vjepa.data.transforms import centre_box, crop
from vjepa.errors import require
from vjepa.language.conversations import Conversation, Media, Turn
from vjepa.language.media import frames_of
from vjepa.language.video_chat import VideoChat

LIMIT = 128
"""Most tokens of an answer, where the task does not say."""


def manifest():
    """What lmms-eval registers."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="vjepa", simple_class_path="vjepa.benchmarks.lmms_eval.VJEPA")


class VJEPA(lmms):
    """
    Args:
        pretrained: Folder of a finished vlm stage.
        batch_size: Prompts at a time, a number.
        max_batch_size: As lmms-eval passes it; not used.
        device: Such as cuda.
    """

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
        self.talker, self.size = VideoChat.load(pretrained).to(device or "cpu"), int(batch_size)

    def generate_until(self, requests: Sequence) -> list[str]:
        """An answer to each request's prompt, cut at the task's own stops."""
        out = []
        for some in self.batches(requests):
            rows, clips = self.asked([(context, visual, doc) for context, _, visual, *doc in some])
            limit = max(settings.get("max_new_tokens", LIMIT) for _, settings, *_ in some)
            said = self.talker.answers(rows, clips, limit)
            out += [
                cut(text, settings.get("until", ()))
                for text, (_, settings, *_) in zip(said, some, strict=True)
            ]
        return out

    def loglikelihood(self, requests: Sequence) -> list[tuple[float, bool]]:
        """Loss of each request's continuation, and whether it is what would be said.

        Despite the name: lmms-eval takes the smallest of the options' values for the chosen one, because its own models give
        their loss, the mean over the continuation's tokens of minus their log-likelihoods. So do we."""
        out = []
        for some in self.batches(requests):
            rows, clips = self.asked([(context, visual, doc) for context, _, visual, *doc in some])
            targets = [
                target(self.document(doc)) if callable(target) else target for _, target, _, *doc in some
            ]
            targets = [str(target).strip() for target in targets]  # lmms-eval puts a space before an option
            rows = [row._replace(options=(target,)) for row, target in zip(rows, targets, strict=True)]
            scores, said = self.talker.option_scores(rows, clips), self.talker.answers(rows, clips)
            lengths = [len(self.talker.chat.answer(row.options[0])) for row in rows]
            found = zip(scores, lengths, said, targets, strict=True)
            out += [(-score[0] / length, text == target) for score, length, text, target in found]
        return out

    def generate_until_multi_round(self, requests: Sequence) -> list[str]:
        raise NotImplementedError("tasks of several rounds are not supported")

    def batches(self, requests: Sequence) -> Iterator[list[tuple]]:
        arguments = [request.args for request in requests]
        for first in range(0, len(arguments), self.size):
            yield arguments[first : first + self.size]

    def document(self, place: Sequence) -> dict:
        number, task, split = place
        return self.task_dict[task][split][number]

    def asked(self, prompts: Sequence[tuple]) -> tuple[list[Conversation], list[Tensor]]:
        """Prompts as conversations that wait for an answer, and the clips of all of them in turn."""
        rows, clips = [], []
        for context, visual, place in prompts:
            shown = visual(self.document(place)) if visual else []
            shown = (
                [shown] if isinstance(shown, str) else list(shown)
            )  # TemporalBench's task returns a path alone
            clips += [self.frames(one) for one in shown]
            text = re.sub(r"<(image|video)>", "", context).strip()
            turns = (Turn("user", (*range(len(shown)), "\n" + text)), Turn("assistant", ("",)))
            rows.append(Conversation(tuple(Media(Path(), None, None) for _ in shown), turns))
        return rows, clips

    def frames(self, shown: object) -> Tensor:
        """Frames (t, c, h, w) of a path, or of a PIL image."""
        if isinstance(shown, str | Path):
            return frames_of(Media(Path(shown), None, None), self.talker.clip)
        picture = rearrange(torch.from_numpy(np.array(shown.convert("RGB"))), "h w c -> 1 c h w")
        return crop(picture, centre_box(*picture.shape[-2:], 1.0), self.talker.clip.size, False)


def cut(text: str, stops: Sequence[str]) -> str:
    """The text before the first of the stops."""
    stops = [stops] if isinstance(stops, str) else stops
    for stop in stops:
        text = text.split(stop)[0] if stop else text
    return text.strip()
