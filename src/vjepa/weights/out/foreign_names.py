"""Tensors that stay in their file, under other people's names and shapes, and back under ours.

    theirs = foreign(tensors, META_ENCODER, "module.backbone.", config)
    tensors = ours(theirs, META_ENCODER, "module.backbone.", path)

Both directions follow the same maps (`keymaps`), which go from a foreign name to ours.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from vjepa.models.encoder import EncoderConfig
from vjepa.weights.files import CheckpointError
from vjepa.weights.keymaps import patterns_of, rename, translate
from vjepa.weights.out.stored import StoredState, StoredTensor, empty_state


def ours(
    tensors: Mapping[str, StoredTensor], keymap: Mapping[str, str], prefix: str, source: Path
) -> StoredState:
    """The tensors whose names begin with `prefix`, under our names and in our shapes.

    Raises CheckpointError as `translate`.
    """
    patterns = patterns_of(keymap)
    groups: dict[str, StoredState] = {}
    for key, stored in tensors.items():
        if key.startswith(prefix):
            name = rename(key.removeprefix(prefix), patterns, source)
            groups.setdefault(re.sub(r"#\d+", "", name), {})[key] = stored

    def joined(pieces: StoredState) -> StoredTensor:
        with torch.device("meta"):
            (made,) = translate(empty_state(pieces), prefix, keymap, source).values()

        def read() -> Tensor:
            state = {key: stored.read() for key, stored in pieces.items()}
            (value,) = translate(state, prefix, keymap, source).values()
            return value

        return StoredTensor(tuple(made.shape), made.dtype, read)

    return {name: joined(pieces) for name, pieces in groups.items()}


def foreign(
    tensors: Mapping[str, StoredTensor], keymap: Mapping[str, str], prefix: str, encoder: EncoderConfig | None
) -> StoredState:
    """The tensors of a network of ours under foreign names that begin with `prefix`, in foreign shapes.

    encoder: Config of the network, if it is an encoder. Raises CheckpointError for a tensor that the others'
    network does not have.
    """
    renamed: StoredState = {}
    for key, stored in tensors.items():
        names = names_of(key, stored.shape[0], keymap)
        part = (stored.shape[0] // len(names), *stored.shape[1:])
        for number, name in enumerate(names):
            shape = their_shape(key, part, name, encoder)
            renamed[prefix + name] = piece(stored, number, len(names), shape)
    return renamed


def names_of(key: str, rows: int, keymap: Mapping[str, str]) -> list[str]:
    """The foreign names of the pieces of our tensor, in their order; a single name for most."""
    module, _, kind = key.rpartition(".")
    if kind not in ("weight", "bias"):
        module = key
        kind = ""
    found: dict[int, str] = {}
    for name, own in keymap.items():
        base, _, number = own.partition("#")
        # re.escape has escaped the braces too.
        match = re.fullmatch(re.escape(base).replace(r"\{\}", r"(\d+)"), module)
        if match and number == "{}":  # each row is a tensor of its own
            found = {row: name.format(row) for row in range(rows)}
        elif match:
            found[int(number or 0)] = name.format(*match.groups())
    if not found:
        raise CheckpointError(f"the other format has no place for {key}")
    return [".".join(filter(None, [found[number], kind])) for number in sorted(found)]


def their_shape(
    key: str, shape: tuple[int, ...], name: str, encoder: EncoderConfig | None
) -> tuple[int, ...]:
    """The shape of a tensor, or of a piece of it, in a foreign file: the inverse of `our_shape`.

    key, name: What it is called here and there. encoder: Config of the network, if it is an encoder.
    """
    if encoder and key in ("embed.weight", "embed_image.weight"):
        tubelet = encoder.tubelet if key == "embed.weight" else 1
        return shape[0], 3, tubelet, encoder.patch, encoder.patch
    if name.endswith("mask_tokens"):  # all of them, with axes for clips and places
        return shape[0], 1, 1, shape[1]
    learned = key in ("mask_tokens", "pool.query") or key.startswith("modality.")
    return (1, 1, shape[-1]) if learned else shape


def piece(stored: StoredTensor, number: int, count: int, shape: tuple[int, ...]) -> StoredTensor:
    """The `number`-th of `count` equal pieces of a tensor, in another shape."""
    return StoredTensor(shape, stored.dtype, lambda: stored.read().chunk(count)[number].reshape(shape))
