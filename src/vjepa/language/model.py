"""A language model that reads video: projected tokens of clips among the words (V-JEPA 2, section 7).

The language model is any causal model of transformers. Everything that is trained sits below one root module,
so that it can be sharded as one: embeddings of a model that is sharded alone cannot be called from outside.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vjepa.errors import require
from vjepa.language.generation import TokenStream, greedy
from vjepa.models.projector import Projector, VideoTokens

CLIP_TOKEN = -1
"""A token id that marks the place of a clip's token. No vocabulary has this id, so no text can hold it."""
IGNORE = -100
"""A label of tokens that are not learned, because they are no part of an answer."""

Ids = Int[Tensor, "b l"]


class AnswerLoss(NamedTuple):
    """How well a batch of answers is predicted."""

    loss: Float[Tensor, ""]
    """Mean negative log-likelihood of the answers' tokens; 0 without any."""
    accuracy: Float[Tensor, ""]
    """Share of these tokens that are the most likely ones; 0 without any."""
    tokens: int
    """How many tokens the answers have. Batches differ in it, so their means weigh as many."""


class VisionLanguageModel(nn.Module):
    """A projector and a language model, called with token ids.

    Ids hold `CLIP_TOKEN` for each token of a clip; clips are given in their order of appearance. Masks are 1
    at tokens and 0 at padding. Training pads on the right; generation and scoring of options need padding on
    the left.
    """

    def __init__(self, projector: Projector, language: nn.Module) -> None:
        super().__init__()
        self.projector = projector
        self.language = language

    def forward(self, ids: Ids, mask: Ids, clips: Sequence[VideoTokens], labels: Ids) -> AnswerLoss:
        """Loss of the answers; labels are IGNORE outside them.

        Without any answer all gradients are 0, and none is missing: processes that train together wait for
        the gradient of each weight.
        """
        # The output at one token predicts the next one.
        targets = labels[:, 1:]
        is_answer = targets != IGNORE

        # A vocabulary is large: compute logits only in columns where some row has an answer.
        columns = is_answer.any(dim=0).nonzero()[:, 0]
        words = self.embed(ids, clips)
        if not clips:
            # A gradient of 0 for the projector, where a batch is text alone. It passes through the language
            # model, whose blocks all processes gather together where they share the weights out.
            words = words + sum(0.0 * parameter.sum() for parameter in self.projector.parameters())
        output = self.language(
            inputs_embeds=words,
            attention_mask=mask,
            position_ids=positions(mask),
            use_cache=False,
            logits_to_keep=columns,
        )
        is_answer = is_answer[:, columns]
        # A softmax over a large vocabulary loses digits in bfloat16.
        logits = output.logits[is_answer].float()
        targets = targets[:, columns][is_answer]

        tokens = len(targets)
        loss = cross_entropy(logits, targets, reduction="sum") / max(tokens, 1)
        right = (logits.argmax(dim=-1) == targets).float().sum()
        return AnswerLoss(loss, right / max(tokens, 1), tokens)

    def embed(self, ids: Ids, clips: Sequence[VideoTokens]) -> Float[Tensor, "b l e"]:
        """Embeddings of the words, and projected tokens of the clips in their places."""
        # CLIP_TOKEN is in no table. Any word stands in for it, and is replaced below.
        words = self.language.get_input_embeddings()(ids.clamp(min=0))
        is_clip = ids == CLIP_TOKEN
        tokens = self.projector(clips).to(words.dtype) if clips else words.new_empty(0, words.shape[-1])
        require(
            int(is_clip.sum()) == len(tokens),
            f"the prompts have places for {int(is_clip.sum())} tokens of clips, but {len(tokens)} were given",
        )
        return words.masked_scatter(is_clip[..., None], tokens) if clips else words

    @torch.no_grad()
    def option_scores(
        self, ids: Ids, mask: Ids, clips: Sequence[VideoTokens], options: Int[Tensor, "b o m"]
    ) -> Float[Tensor, "b o"]:
        """Log-likelihood of each option as the continuation of its prompt, summed over its tokens.

        Options are padded on the right with IGNORE.
        """
        o, m = options.shape[1:]
        # Each prompt is read once; its keys and values serve all its options.
        prompt = self.read_prompts(ids, mask, clips)
        # Changes the cache in place: one copy for each option of each prompt.
        prompt.past_key_values.batch_repeat_interleave(o)

        flat = rearrange(options, "b o m -> (b o) m")
        is_token = flat != IGNORE
        flat = flat.clamp(min=0)  # IGNORE is no id; what is read there is masked below
        whole = torch.cat([mask.repeat_interleave(o, dim=0), is_token.long()], dim=1)
        continuation = self.language(
            input_ids=flat,
            attention_mask=whole,
            position_ids=positions(whole)[:, -m:],
            past_key_values=prompt.past_key_values,
            use_cache=True,
        )

        # The logits at one token are the prediction of the next: the prompt's last logits predict an option's
        # first token.
        first = prompt.logits[:, -1:].repeat_interleave(o, dim=0)
        logits = torch.cat([first, continuation.logits[:, :-1]], dim=1)
        likelihood = logits.float().log_softmax(dim=-1).gather(2, flat[..., None])[..., 0]
        return rearrange((likelihood * is_token).sum(dim=1), "(b o) -> b o", o=o)

    def read_prompts(self, ids: Ids, mask: Ids, clips: Sequence[VideoTokens]):
        """transformers' output for prompts padded on the left: the last logits, and the cache."""
        check_left_padding(mask)
        return self.language(
            inputs_embeds=self.embed(ids, clips),
            attention_mask=mask,
            position_ids=positions(mask),
            use_cache=True,
            logits_to_keep=1,
        )

    @torch.no_grad()
    def generate(
        self,
        ids: Ids,
        mask: Ids,
        clips: Sequence[VideoTokens],
        stop: Sequence[int],
        limit: int,
        streamer: TokenStream | None = None,
    ) -> Int[Tensor, "b m"]:
        """The most likely continuation of each prompt: to its first `stop` token, at most `limit` tokens.

        A conversation that has stopped is padded with the first stop token. Raises UserError for padding on
        the right.
        """
        check_left_padding(mask)
        return greedy(self.language, self.embed(ids, clips), mask, stop, limit, streamer)

    def answers(
        self, ids: Ids, mask: Ids, clips: Sequence[VideoTokens], stop: Sequence[int], limit: int
    ) -> list[list[int]]:
        """Token ids of each prompt's answer, without the stop token."""
        continuations = self.generate(ids, mask, clips, stop, limit)
        return [before_stop(row, stop) for row in continuations.tolist()]


def check_left_padding(mask: Ids) -> None:
    require(bool(mask[:, -1].all()), "prompts that are to be continued must be padded on the left")


def positions(mask: Ids) -> Ids:
    """Positions of the tokens, counted without the padding."""
    # Given explicitly, because a model would otherwise count the padding on the left.
    return (mask.cumsum(dim=1) - 1).clamp(min=0)  # padding on the left would be at -1


def before_stop(tokens: Sequence[int], stop: Sequence[int]) -> list[int]:
    """The tokens before the first stop token."""
    stops = [i for i, token in enumerate(tokens) if token in stop]
    return list(tokens[: stops[0]] if stops else tokens)


def pad(rows: Sequence[Sequence[int]], value: int, side: Literal["left", "right"]) -> tuple[Ids, Ids]:
    """Rows of any lengths as one tensor filled up with `value`, and its mask: 1 at tokens, 0 at padding."""
    length = max(map(len, rows), default=0)
    ids = torch.full((len(rows), length), value, dtype=torch.long)
    mask = torch.zeros(len(rows), length, dtype=torch.long)
    for number, row in enumerate(rows):
        place = slice(length - len(row), length) if side == "left" else slice(0, len(row))
        ids[number, place] = torch.tensor(row, dtype=torch.long)
        mask[number, place] = 1
    return ids, mask
