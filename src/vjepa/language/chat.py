"""Conversations about clips as token ids, with the chat template of any tokenizer.

The template is rendered once, with a mark in the place of every text and every clip. Then each text is
tokenised by itself. So the template alone decides what is an answer, a control token typed by a user is plain
text, and no text can be taken for the place of a clip.

A conversation longer than the context is cut by one rule: first the longest text of a user loses its end,
then, if that is not enough, the conversation loses its end. Clips are never cut. The tokens that were cut are
counted. A conversation is refused if no answer is left.

Some templates write a space or a line break before an answer, but not at the end of a prompt. The model has
to generate it then, so it belongs to the answer.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from jinja2 import TemplateError

from vjepa.errors import UserError, require
from vjepa.language.conversations import Turn
from vjepa.language.model import CLIP_TOKEN, IGNORE

# Private-use characters of Unicode, which no template writes.
OPEN = "\ue000"
CLOSE = "\ue001"
MARK = re.compile(f"{OPEN}(\\d+){CLOSE}")

Kind = Literal["template", "user", "answer", "clip"]


class Piece(NamedTuple):
    """Token ids of one text, one clip, or what the template writes between them."""

    kind: Kind
    ids: list[int]


class Encoded(NamedTuple):
    """Token ids, labels of the same length, and how many tokens of text did not fit into the context."""

    ids: list[int]
    labels: list[int]
    cut: int


class Chat:
    """Turns conversations into token ids, and token ids of answers into text.

    Args:
        tokenizer: Of transformers, with a chat template.
        context: Most tokens of a conversation, its clips included.
    """

    def __init__(self, tokenizer, context: int) -> None:
        require(
            bool(tokenizer.chat_template),
            f"the tokenizer in {tokenizer.name_or_path} has no chat template; "
            "take that of an instruction-tuned model",
        )
        self.tokenizer = tokenizer
        self.context = context
        self.template_name = f"the chat template of {tokenizer.name_or_path}"
        self.answer_prefix = self.prefix_of_answers()
        self.stop = self.stop_ids()

    @property
    def padding(self) -> int:
        """Any token id will do: masks say what is padding."""
        return self.tokenizer.pad_token_id or 0

    def encode(self, turns: Sequence[Turn], sizes: Sequence[int]) -> Encoded:
        """A whole conversation, to be learned. sizes: how many tokens each clip has.

        Raises UserError if no answer is left within the context.
        """
        encoded = self.fit_to_context(self.pieces(turns, sizes, prompt=False))
        if all(label == IGNORE for label in encoded.labels):
            raise UserError(
                f"no answer fits into {self.context} tokens beside {sum(sizes)} of clips; raise context"
            )
        return encoded

    def encode_prompt(self, turns: Sequence[Turn], sizes: Sequence[int]) -> Encoded:
        """A conversation that ends with a question, up to the place where its answer begins.

        Raises UserError if it does not fit into the context even with its longest question cut.
        """
        return self.fit_to_context(self.pieces(turns, sizes, prompt=True), whole=True)

    def encode_answer(self, text: str) -> list[int]:
        """An answer as it would be learned, its stop token included."""
        return [*self.answer_ids(text), self.stop[0]]

    def encode_text(self, text: str) -> list[int]:
        """A text of a user. Anything that looks like a control token becomes ordinary tokens."""
        return self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(ids), skip_special_tokens=True).strip()

    def fit_to_context(self, pieces: list[Piece], whole: bool = False) -> Encoded:
        """Ids and labels of the pieces, cut by the rule above. whole: only texts of the user may be cut."""
        excess = max(0, sum(len(piece.ids) for piece in pieces) - self.context)
        ids: list[int] = []
        labels: list[int] = []
        end_of_clips = 0
        for before, piece in pairwise([Piece("template", []), *shorten_longest_text(pieces, excess)]):
            # What is learned: an answer, and the first token after it, which is the stop token.
            learned = len(piece.ids) if piece.kind == "answer" else int(before.kind == "answer")
            ids += piece.ids
            labels += piece.ids[:learned] + [IGNORE] * (len(piece.ids) - learned)
            if piece.kind == "clip":
                end_of_clips = len(ids)

        # Half a clip would leave tokens of the encoder without a place.
        if end_of_clips > self.context or (whole and len(ids) > self.context):
            raise UserError(
                f"clips and template of a conversation take {len(ids)} tokens; raise context={self.context}"
            )
        return Encoded(ids[: self.context], labels[: self.context], excess)

    def pieces(self, turns: Sequence[Turn], sizes: Sequence[int], prompt: bool) -> list[Piece]:
        """The rendered conversation in pieces. prompt: it ends where the template asks for an answer."""
        parts = [(turn.role, part) for turn in turns for part in turn.parts]
        # Even chunks are the template's own text, odd ones the numbers of the parts between them.
        chunks = MARK.split(self.render(turns, prompt))
        pieces: list[Piece] = []
        for number, chunk in enumerate(chunks):
            if number % 2:
                pieces.append(self.part_piece(*parts[int(chunk)], sizes))
                continue
            # What the template writes right before an answer is a part of the answer.
            before_answer = number + 1 < len(chunks) and parts[int(chunks[number + 1])][0] == "assistant"
            text = chunk.removesuffix(self.answer_prefix) if before_answer else chunk
            pieces += self.template_pieces(text, after_answer=bool(pieces) and pieces[-1].kind == "answer")
        return pieces

    def part_piece(self, role: str, part: str | int, sizes: Sequence[int]) -> Piece:
        """One part of a turn: a text, or the number of a clip."""
        if isinstance(part, int):
            return Piece("clip", [CLIP_TOKEN] * sizes[part])
        if role == "assistant":
            return Piece("answer", self.answer_ids(part))
        return Piece("user", self.encode_text(part))

    def template_pieces(self, text: str, after_answer: bool) -> list[Piece]:
        """The template's own text between two parts: one piece, or none if it is empty."""
        # Llama 2 writes a space before the stop token, which the model need not learn.
        text = text.lstrip(" ") if after_answer else text
        ids = self.tokenizer.encode(text, add_special_tokens=False) if text else []
        if after_answer and not ids and self.tokenizer.eos_token_id is not None:
            # This template ends answers with nothing, so the tokenizer's end of text does.
            ids = [self.tokenizer.eos_token_id]
        return [Piece("template", ids)] if ids else []

    def render(self, turns: Sequence[Turn], prompt: bool) -> str:
        """The template's text, with numbered marks for the parts. Raises UserError if it loses one."""
        messages = []
        number = 0
        for turn in turns:
            marks = "".join(f"{OPEN}{number + i}{CLOSE}" for i in range(len(turn.parts)))
            messages.append({"role": turn.role, "content": marks})
            number += len(turn.parts)

        roles = ", ".join(turn.role for turn in turns)
        try:
            # Qwen3's template knows `enable_thinking`, others ignore it. An answer comes without a thought.
            text = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=prompt, enable_thinking=False
            )
        except TemplateError as error:
            raise UserError(f"{self.template_name} refuses turns of {roles}: {error}") from error
        in_order = [int(mark) for mark in MARK.findall(text)] == list(range(number))
        require(in_order, f"{self.template_name} does not show all turns of: {roles}")
        return text

    def answer_ids(self, answer: str) -> list[int]:
        """An answer with the prefix that the template writes before it, without its stop token."""
        # Tokenizers of the first Llamas put a space before every text by themselves.
        first = self.tokenizer.convert_ids_to_tokens(self.encode_text("a"))[0]
        has_space = self.answer_prefix == " " and first.startswith("\u2581")
        return self.encode_text(answer if has_space else self.answer_prefix + answer)

    def prefix_of_answers(self) -> str:
        """White space that the template writes between its request for an answer and the answer.

        Raises UserError if an answered conversation does not begin with the request: a model aligned with
        such a template would be asked in words that it never learned.
        """
        # The parts are numbered: the question is 0, the answer 1.
        question, answer = one_round()
        request = self.render([question], prompt=True)
        answered = self.render([question, answer], prompt=False).split(f"{OPEN}1{CLOSE}")[0]
        require(
            answered.startswith(request) and not answered.removeprefix(request).strip(),
            f"{self.template_name} does not begin an answered conversation as it asks for an answer, so an "
            "aligned model would be asked what it never learned; take another template",
        )
        return answered.removeprefix(request)

    def stop_ids(self) -> list[int]:
        """Tokens that end an answer; the first of them is learned.

        They are what the template writes after the last answer and after others, and the end of text. Raises
        UserError if the template writes none.
        """
        # Some templates end the last answer otherwise than those before it. There are three answers in all.
        ends = []
        for turns in (one_round(), one_round() + one_round()):
            for piece, following in pairwise(self.pieces(turns, [], prompt=False)):
                if piece.kind == "answer":
                    ends.append(following.ids[0])
        require(
            len(ends) == 3,
            f"{self.template_name} does not end its answers, and its tokenizer has no end of text",
        )
        if self.tokenizer.eos_token_id is not None:
            ends.append(self.tokenizer.eos_token_id)
        return list(dict.fromkeys(ends))


def one_round() -> list[Turn]:
    """The shortest conversation, with which a template is examined."""
    return [Turn("user", ("q",)), Turn("assistant", ("a",))]


def shorten_longest_text(pieces: list[Piece], excess: int) -> list[Piece]:
    """The pieces, with up to `excess` tokens cut from the end of the longest text of a user."""
    texts = [i for i, piece in enumerate(pieces) if piece.kind == "user"]
    if not texts or not excess:
        return pieces
    longest = max(texts, key=lambda i: len(pieces[i].ids))
    ids = pieces[longest].ids
    length = max(len(ids) - excess, min(1, len(ids)))  # one token stays, so that the turn is not empty
    shortened = Piece("user", ids[:length])
    return [*pieces[:longest], shortened, *pieces[longest + 1 :]]
