"""Conversations about clips as token ids, by any tokenizer's own chat template.

The template is rendered once, with a mark for every text and every clip; then each text is tokenised by itself. So what an
answer is follows from the template alone, a control token that a user types is plain text, and no text can be taken for the
place of a clip.

One rule for what is longer than the context: the longest text of a user loses its end; if that is not enough, the
conversation does. Clips are never cut. What was cut is counted, and a conversation without an answer left is refused.

Some templates write a space or the end of a line before an answer, but not where they ask for one. A model has to say it
then, so it belongs to the answer.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from jinja2 import TemplateError

from vjepa.errors import UserError, require
from vjepa.language.conversations import Turn
from vjepa.language.model import IGNORE, PLACE

OPEN, CLOSE = "\ue000", "\ue001"  # private characters that no template writes
Kind = Literal["template", "user", "answer", "clip"]


class Piece(NamedTuple):
    kind: Kind
    ids: list[int]


class Encoded(NamedTuple):
    """Token ids, labels of the same length, and how many tokens of text did not fit."""

    ids: list[int]
    labels: list[int]
    cut: int


class Chat:
    """
    Args:
        tokenizer: Of transformers, with a chat template.
        context: Most tokens of a conversation, its clips included.
    """

    def __init__(self, tokenizer, context: int) -> None:
        if not tokenizer.chat_template:
            where = tokenizer.name_or_path
            raise UserError(
                f"the tokenizer in {where} has no chat template; take that of an instruction-tuned model"
            )
        self.tokenizer, self.context = tokenizer, context
        self.gap = self.gap_before_answers()
        self.stop = self.stops()

    @property
    def padding(self) -> int:
        """Any token: masks say what is padding."""
        return self.tokenizer.pad_token_id or 0

    def encode(self, turns: Sequence[Turn], sizes: Sequence[int]) -> Encoded:
        """A whole conversation, to be learned; sizes: how many tokens each clip has.

        Raises UserError if no answer is left within the context."""
        encoded = self.fit(self.pieces(turns, sizes, prompt=False))
        if all(label == IGNORE for label in encoded.labels):
            raise UserError(
                f"no answer fits into {self.context} tokens beside {sum(sizes)} of clips; raise context"
            )
        return encoded

    def prompt(self, turns: Sequence[Turn], sizes: Sequence[int]) -> Encoded:
        """A conversation that ends with a question, up to where its answer begins. Raises UserError if it does not fit."""
        return self.fit(self.pieces(turns, sizes, prompt=True), whole=True)

    def answer(self, text: str) -> list[int]:
        """An answer as it would be learned, its end included."""
        return [*self.said(text), self.stop[0]]

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(ids), skip_special_tokens=True).strip()

    def fit(self, pieces: list[Piece], whole: bool = False) -> Encoded:
        """The rule above; `whole`: only texts of the user may be cut."""
        excess = cut = max(0, sum(len(piece.ids) for piece in pieces) - self.context)
        longest = max(
            (p for p in pieces if p.kind == "user"), key=lambda p: len(p.ids), default=Piece("user", [])
        )
        spare = min(excess, max(0, len(longest.ids) - 1))
        pieces = [p._replace(ids=p.ids[: len(p.ids) - spare]) if p is longest else p for p in pieces]
        ids, labels, clips = [], [], 0
        for before, piece in pairwise([Piece("template", []), *pieces]):
            learned = (
                len(piece.ids) if piece.kind == "answer" else int(before.kind == "answer")
            )  # an answer and its end
            ids += piece.ids
            labels += piece.ids[:learned] + [IGNORE] * (len(piece.ids) - learned)
            clips = len(ids) if piece.kind == "clip" else clips
        if clips > self.context or (whole and len(ids) > self.context):
            raise UserError(
                f"clips and template of a conversation take {len(ids)} tokens; raise context={self.context}"
            )
        return Encoded(ids[: self.context], labels[: self.context], cut)

    def pieces(self, turns: Sequence[Turn], sizes: Sequence[int], prompt: bool) -> list[Piece]:
        parts = [(turn.role, part) for turn in turns for part in turn.parts]
        out: list[Piece] = []
        chunks = re.split(f"{OPEN}(\\d+){CLOSE}", self.render(turns, prompt))
        for number, chunk in enumerate(chunks):
            if number % 2 == 0:
                answers = number + 1 < len(chunks) and parts[int(chunks[number + 1])][0] == "assistant"
                text = chunk.removesuffix(self.gap) if answers else chunk
                out += self.between(text, after_answer=bool(out) and out[-1].kind == "answer")
            else:
                role, part = parts[int(chunk)]
                place, answer = isinstance(part, int), role == "assistant"
                kind = "clip" if place else "answer" if answer else "user"
                out.append(
                    Piece(
                        kind,
                        [PLACE] * sizes[part] if place else self.said(part) if answer else self.plain(part),
                    )
                )
        return out

    def between(self, text: str, after_answer: bool) -> list[Piece]:
        """The template's own words. An answer that it ends with nothing is ended by the tokenizer's end of text; a space in
        front of an end is nothing that has to be said."""
        text = text.lstrip(" ") if after_answer else text
        ids = self.tokenizer.encode(text, add_special_tokens=False) if text else []
        if after_answer and not ids and self.tokenizer.eos_token_id is not None:
            ids = [self.tokenizer.eos_token_id]
        return [Piece("template", ids)] if ids else []

    def render(self, turns: Sequence[Turn], prompt: bool) -> str:
        """The template's text with a numbered mark for each part of each turn. Raises UserError if it loses one."""
        messages, number = [], 0
        for turn in turns:
            marks = "".join(f"{OPEN}{number + i}{CLOSE}" for i in range(len(turn.parts)))
            messages.append({"role": turn.role, "content": marks})
            number += len(turn.parts)
        named = f"the chat template of {self.tokenizer.name_or_path}"
        try:
            text = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=prompt, enable_thinking=False
            )
        except TemplateError as error:
            raise UserError(
                f"{named} refuses turns of {', '.join(turn.role for turn in turns)}: {error}"
            ) from error
        shown = [int(mark) for mark in re.findall(f"{OPEN}(\\d+){CLOSE}", text)]
        if shown != list(range(number)):
            roles = ", ".join(turn.role for turn in turns)
            raise UserError(f"{named} does not show all turns of: {roles}")
        return text

    def plain(self, text: str) -> list[int]:
        """Text as text: what looks like a control token is spelled out."""
        return self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)

    def said(self, answer: str) -> list[int]:
        """An answer as it is said, with what the template has in front of it. Tokenizers of the first Llamas put a space in
        front of every text by themselves."""
        spaced = self.gap == " " and self.tokenizer.convert_ids_to_tokens(self.plain("a"))[0].startswith(
            "\u2581"
        )
        return self.plain(answer if spaced else self.gap + answer)

    def gap_before_answers(self) -> str:
        """What the template writes between asking for an answer and the answer. Raises UserError if it asks otherwise than it
        shows answers: nothing it learns would be asked for."""
        round_ = [Turn("user", ("q",)), Turn("assistant", ("a",))]
        asked = self.render(round_[:1], prompt=True)
        shown = self.render(round_, prompt=False).split(f"{OPEN}1{CLOSE}")[0]
        require(
            shown.startswith(asked) and not shown.removeprefix(asked).strip(),
            f"the chat template of {self.tokenizer.name_or_path} does not begin an answered conversation as it asks for an "
            "answer, so an aligned model would be asked what it never learned; take another template",
        )
        return shown.removeprefix(asked)

    def stops(self) -> list[int]:
        """What ends an answer: the token that the template writes after the last one, after others, and the end of text.
        Raises UserError if there is none."""
        round_ = [Turn("user", ("q",)), Turn("assistant", ("a",))]
        answered, twice = (self.pieces(turns, [], prompt=False) for turns in (round_, round_ + round_))
        ends = [b.ids[0] for pieces in (answered, twice) for a, b in pairwise(pieces) if a.kind == "answer"]
        named = f"the chat template of {self.tokenizer.name_or_path}"
        require(len(ends) == 3, f"{named} does not end its answers, and its tokenizer has no end of text")
        end = self.tokenizer.eos_token_id
        return list(dict.fromkeys([*ends, *([] if end is None else [end])]))
