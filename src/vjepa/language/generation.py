"""Greedy text generation with transformers, whole or token by token.

A published model brings its own settings for sampling, penalties and lengths. They never apply here: an
evaluation must give the same answer each time, and only the caller decides where an answer ends.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue

from jaxtyping import Float, Int
from torch import Tensor, nn

from vjepa.errors import require
from vjepa.language.language_model import has_adapter


class StreamClosedError(Exception):
    """The reader of a TokenStream has gone."""


class TokenStream:
    """A streamer for transformers' `generate`, which calls `put` after each token of its one prompt."""

    def __init__(self) -> None:
        self.tokens: SimpleQueue[int | None] = SimpleQueue()
        self.closed = False

    def put(self, tokens: Tensor) -> None:
        if self.closed:
            raise StreamClosedError  # the only way to end `generate` from outside before its limit
        for token in tokens.flatten().tolist():
            self.tokens.put(token)

    def end(self) -> None:
        """Nothing to do: `stream_tokens` marks the end, also after an error."""


def greedy(
    language: nn.Module,
    embeds: Float[Tensor, "b l e"],
    mask: Int[Tensor, "b l"],
    stop: Sequence[int],
    limit: int,
    streamer: TokenStream | None = None,
) -> Int[Tensor, "b m"]:
    """The most likely next tokens of each prompt, at most `limit`, up to its first `stop` token.

    Prompts are padded on the left. A conversation that has stopped is padded with the first stop token.
    """
    from transformers import GenerationConfig

    require(limit > 0, f"limit={limit} is the most tokens of an answer; give 1 or more")
    # The base model includes the layers of an adapter. peft's own `generate` would keep the config below.
    model = language.get_base_model() if has_adapter(language) else language
    config = GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_new_tokens=limit,
        eos_token_id=list(stop),
        pad_token_id=stop[0],  # it vanishes where answers are cut at their first stop token
        use_cache=True,
    )
    with default_generation_config(model):
        return model.generate(
            inputs_embeds=embeds, attention_mask=mask, generation_config=config, streamer=streamer
        )


@contextmanager
def default_generation_config(model: nn.Module) -> Iterator[None]:
    """Set the model's own generation config aside.

    Passing another one is not enough: transformers fills what that leaves open from the model's own.
    """
    from transformers import GenerationConfig

    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own


def stream_tokens(generate: Callable[[TokenStream], object]) -> Iterator[int]:
    """Tokens as `generate` finds them; it runs in a thread of its own. Raises what it raises.

    If the reader stops early, `generate` ends after the token that it is working on.
    """
    stream = TokenStream()
    # `generate` pushes tokens and a generator pulls them, so each needs a thread.
    with ThreadPoolExecutor(max_workers=1) as pool:
        result = pool.submit(generate, stream)
        # After an error too, or the reader would wait for ever.
        result.add_done_callback(lambda _: stream.tokens.put(None))
        try:
            yield from iter(stream.tokens.get, None)
        finally:
            stream.closed = True
    result.result()  # raises what `generate` raised
