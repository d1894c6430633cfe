"""A language model that is shown video: a projector, and tokens of clips among the words (V-JEPA 2, section 7).

The language model is any causal one that is called as those of transformers are; this file imports none of them. All that
is trained sits below one root module, so that it can be sharded as one.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vjepa.errors import UserError, require
from vjepa.models.projector import Projector, VideoTokens

PLACE = (
    -1
)  # among token ids: a token of a clip stands here. No entry of any vocabulary, so that nobody can type it.
IGNORE = -100  # among labels: not an answer

Ids = Int[Tensor, "b l"]


class AnswerLoss(NamedTuple):
    """Mean negative log-likelihood of the answers' tokens, and which share of them is the most likely one."""

    loss: Float[Tensor, ""]
    accuracy: Float[Tensor, ""]


class VisionLanguageModel(nn.Module):
    """Conversations as token ids with `PLACE` where a clip's tokens stand; clips in their order of appearance.

    Masks are 1 where there is something to read. Training pads on the right; whatever speaks needs padding on the left.
    """

    def __init__(self, projector: Projector, language: nn.Module) -> None:
        super().__init__()
        self.projector, self.language = projector, language

    def forward(self, ids: Ids, mask: Ids, seen: Sequence[VideoTokens], labels: Ids) -> AnswerLoss:
        """How well the answers are read. Labels are IGNORE wherever no answer stands. Raises UserError if there is none.

        The loss depends on the projector even where there are words alone, if only by nothing: it can always be learned from,
        and processes that train together all have a gradient for each weight."""
        answers = labels[:, 1:] != IGNORE
        require(bool(answers.any()), "no answer is left in this batch, so there is nothing to learn from it")
        columns = answers.any(dim=0).nonzero()[
            :, 0
        ]  # the vocabulary is large: no logits where nobody answers
        read = self.language(
            inputs_embeds=self.embed(ids, seen),
            attention_mask=mask,
            position_ids=positions(mask),
            use_cache=False,
            logits_to_keep=columns,
        )
        wanted, there = labels[:, 1:][:, columns], answers[:, columns]
        logits, wanted = read.logits[there].float(), wanted[there]
        nothing = sum(0.0 * parameter.sum() for parameter in self.projector.parameters()) if not seen else 0.0
        return AnswerLoss(
            cross_entropy(logits, wanted) + nothing, (logits.argmax(dim=-1) == wanted).float().mean()
        )

    def embed(self, ids: Ids, seen: Sequence[VideoTokens]) -> Float[Tensor, "b l e"]:
        """Words from the language model's table, and clips through the projector in their places."""
        words = self.language.get_input_embeddings()(ids.clamp(min=0))
        places = int((ids == PLACE).sum())
        clips = self.projector(seen).to(words.dtype) if seen else words.new_empty(0, words.shape[-1])
        if places != len(clips):
            raise UserError(
                f"the prompts have places for {places} tokens of clips, but {len(clips)} were given"
            )
        return words.masked_scatter((ids == PLACE)[..., None], clips) if seen else words

    @torch.no_grad()
    def option_scores(
        self, ids: Ids, mask: Ids, seen: Sequence[VideoTokens], options: Int[Tensor, "b o m"]
    ) -> Float[Tensor, "b o"]:
        """Log-likelihood of each option as the continuation of its prompt, summed over its tokens.

        Options are padded on the right with IGNORE. The prompt is read once for all its options.
        """
        o, m = options.shape[1:]
        prompt = self.read(ids, mask, seen)
        prompt.past_key_values.batch_repeat_interleave(o)
        flat = rearrange(options, "b o m -> (b o) m")
        there, flat = flat != IGNORE, flat.clamp(min=0)
        whole = torch.cat([mask.repeat_interleave(o, dim=0), there.long()], dim=1)
        more = self.language(
            input_ids=flat,
            attention_mask=whole,
            position_ids=positions(whole)[:, -m:],
            past_key_values=prompt.past_key_values,
            use_cache=True,
        )
        logits = torch.cat([prompt.logits[:, -1:].repeat_interleave(o, dim=0), more.logits[:, :-1]], dim=1)
        likely = logits.float().log_softmax(dim=-1).gather(2, flat[..., None])[..., 0]
        return rearrange((likely * there).sum(dim=1), "(b o) -> b o", o=o)

    @torch.no_grad()
    def generate(
        self, ids: Ids, mask: Ids, seen: Sequence[VideoTokens], stop: Sequence[int], limit: int
    ) -> Iterator[Int[Tensor, " b"]]:
        """The most likely next token of every conversation, again and again, until all have said a `stop` or `limit` tokens.

        Who has stopped goes on with the first `stop`.
        """
        ends = torch.tensor(stop, device=ids.device)
        silent = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
        read = self.read(ids, mask, seen)
        for spoken in range(limit):
            token = torch.where(silent, ends[0], read.logits[:, -1].argmax(dim=-1))
            yield token
            silent = silent | torch.isin(token, ends)
            if silent.all() or spoken + 1 == limit:
                return
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
            read = self.language(
                input_ids=token[:, None],
                attention_mask=mask,
                position_ids=positions(mask)[:, -1:],
                past_key_values=read.past_key_values,
                use_cache=True,
            )

    def answers(
        self, ids: Ids, mask: Ids, seen: Sequence[VideoTokens], stop: Sequence[int], limit: int
    ) -> list[list[int]]:
        """What every conversation goes on with, up to its stop."""
        columns = list(self.generate(ids, mask, seen, stop, limit))
        return [up_to(row, stop) for row in torch.stack(columns, dim=1).tolist()]

    def read(self, ids: Ids, mask: Ids, seen: Sequence[VideoTokens]):
        """transformers' output for the prompts, with the cache to go on from. Raises UserError for padding on the right."""
        require(bool(mask[:, -1].all()), "prompts that are to be continued must be padded on the left")
        embeds = self.embed(ids, seen)
        return self.language(
            inputs_embeds=embeds,
            attention_mask=mask,
            position_ids=positions(mask),
            use_cache=True,
            logits_to_keep=1,
        )


def positions(mask: Ids) -> Ids:
    """Places of words counted without the padding."""
    return (mask.cumsum(dim=1) - 1).clamp(min=0)


def up_to(tokens: Sequence[int], stop: Sequence[int]) -> list[int]:
    """The tokens before the first stop."""
    ends = [place for place, token in enumerate(tokens) if token in stop]
    return list(tokens[: ends[0]] if ends else tokens)


def pad(rows: Sequence[Sequence[int]], value: int, side: Literal["left", "right"]) -> tuple[Ids, Ids]:
    """Rows of any lengths as one tensor, and the mask of what is there."""
    length = max(map(len, rows), default=0)
    there = [[1] * len(row) for row in rows]
    filled = ([extended(row, length, v, side) for row in r] for r, v in ((rows, value), (there, 0)))
    return tuple(torch.tensor(r, dtype=torch.long).view(len(rows), length) for r in filled)


def extended(row: Sequence[int], length: int, value: int, side: str) -> list[int]:
    missing = [value] * (length - len(row))
    return [*missing, *row] if side == "left" else [*row, *missing]
