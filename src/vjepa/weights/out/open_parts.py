"""Any source of weights as parts under our names, whose numbers stay in their file until they are read.

    part = open_part("vitl.pt", "ema")
    part.description                              # as an export has it
    part.tensors["embed.weight"].read()

Names, shapes and types are compared with the network as strictly as where it is loaded.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vjepa.errors import require
from vjepa.models.encoder import EncoderConfig
from vjepa.weights.build import ShapesAlone
from vjepa.weights.card import read_card
from vjepa.weights.checksums import check_numbers
from vjepa.weights.classifiers import chosen_classifier, classifiers_of
from vjepa.weights.export import part_description, probe_part
from vjepa.weights.family import Family, plain
from vjepa.weights.file_kind import check_kind
from vjepa.weights.files import CheckpointError, as_checkpoint_error
from vjepa.weights.huggingface import HF_PARTS, hf_encoder_config, hf_files, read_tensors
from vjepa.weights.info import LOADERS
from vjepa.weights.keymaps import (
    HF_ENCODER,
    HF_PREDICTOR,
    HF_PROBE,
    META_AC_PREDICTOR,
    META_ENCODER,
    META_PREDICTOR,
    META_PROBE,
)
from vjepa.weights.meta import own_part, predicted_encoder, read_meta
from vjepa.weights.out.foreign_names import ours
from vjepa.weights.out.part_settings import same_settings
from vjepa.weights.out.stored import StoredState, StoredTensor, stored_in, stored_of
from vjepa.weights.probe_schema import checked_schema, hf_schema
from vjepa.weights.source import Opened, read_source

META_MAPS = {
    "ema": META_ENCODER,
    "student": META_ENCODER,
    "predictor": META_PREDICTOR,
    "ac_predictor": META_AC_PREDICTOR,
    "probe": META_PROBE,
}
META_NETWORKS = {"ema": "target_encoder", "student": "encoder"}
"""Part -> what `read_meta` calls it; predictors of both kinds have one name."""
HF_MAPS = {
    "ema": ("encoder.", HF_ENCODER),
    "predictor": ("predictor.", HF_PREDICTOR),
    "probe": ("", HF_PROBE),
}
ENCODERS = ("ema", "student")
PLACEHOLDER = "LABEL_"
"""How transformers calls classes without names."""


@dataclass(frozen=True)
class Unsaid:
    """What a file of Meta's leaves unsaid, as a user says it; None for what readers know or assume."""

    heads: int | None = None
    """Attention heads of the encoder."""
    predictor_heads: int | None = None
    """Those of the predictor, of either kind."""
    levels: tuple[int, ...] | None = None
    """Blocks of an encoder's levels."""
    head: int | None = None
    """Number, from 0, of the classifier that is meant, of a file of several."""

    def __post_init__(self) -> None:
        for name in ("heads", "predictor_heads"):
            count = getattr(self, name)
            require(count is None or count > 0, f"--unsaid.{name} {count} must be more than 0")
        require((self.head or 0) >= 0, f"--unsaid.head {self.head} is the number of a classifier, from 0")
        blocks = self.levels or ()
        require(min(blocks, default=0) >= 0, f"--unsaid.levels {[*blocks]} are numbers of blocks, from 0")

    def arguments(self, part: str) -> dict[str, Any]:
        """The arguments of a part's loader."""
        named = {"heads": self.predictor_heads if part.endswith("predictor") else self.heads}
        named |= {"levels": self.levels} if part in ENCODERS else {}
        named |= {"head": self.head} if part == "probe" else {}
        return {key: value for key, value in named.items() if value is not None}


@dataclass(frozen=True)
class OpenPart:
    """A network in a file."""

    description: dict[str, Any]
    """All that its constructor takes, as in an export."""
    tensors: StoredState
    """Its tensors under our names, in our shapes."""


@as_checkpoint_error
def open_part(source: str | Path, part: str, unsaid: Unsaid = Unsaid()) -> OpenPart:
    """A part that `read_card` names. Raises CheckpointError as its loader does.

    A number that is not finite raises it when it is read.
    """
    found = read_source(source)
    opened = unchecked_part(source, found, part, unsaid)
    if part == "probe":
        checked_schema(opened.description)
    tensors = {key: finite(stored, key, found.path) for key, stored in opened.tensors.items()}
    return OpenPart(opened.description, tensors)


def finite(stored: StoredTensor, key: str, path: Path) -> StoredTensor:
    """The same tensor, which raises CheckpointError where its numbers are NaN or infinite."""

    def read() -> Tensor:
        value = stored.read()
        if not value.isfinite().all():
            raise CheckpointError(
                f"{path} holds numbers that are NaN or infinite, first in {key}; its training has failed"
            )
        return value

    return stored._replace(read=read)


def unchecked_part(source: str | Path, found: Opened, part: str, unsaid: Unsaid) -> OpenPart:
    """The part with the numbers as they are."""
    network = empty_network(source, part, unsaid)
    if found.family is Family.EXPORT:
        prefix = f"{part}."
        tensors = stored_in(found.path).items()
        state = {key.removeprefix(prefix): value for key, value in tensors if key.startswith(prefix)}
        return OpenPart(part_description(found.path, part), state)
    description = foreign_description(network, source, found, part, unsaid)
    if found.family is Family.HUGGING_FACE:
        prefix, keymap = HF_MAPS[part]
        return OpenPart(description, ours(hf_part(found.path, part), keymap, prefix, found.path))
    return OpenPart(
        description, ours(meta_part(found, part, network, unsaid.head), META_MAPS[part], "", found.path)
    )


def empty_network(source: str | Path, part: str, unsaid: Unsaid) -> nn.Module:
    """The network of a part without numbers. Raises CheckpointError if a tensor does not fit it.

    A part that only its own program loads, such as a projector, is an empty module.
    """
    with torch.device("meta"), ShapesAlone():
        known = LOADERS.get(part)
        loaded = known(Path(source), **unsaid.arguments(part)) if known else nn.Module()
    require(isinstance(loaded, nn.Module), f"{part} is no network")
    return loaded


def foreign_description(
    network: nn.Module, source: str | Path, found: Opened, part: str, unsaid: Unsaid
) -> dict[str, Any]:
    """What an export would say of a network in a file of somebody else's.

    Where `weights convert` made the file, that is what it put there, unless the file was changed since.
    """
    known = own_part(found, part)
    if known is not None and found.family is not Family.HUGGING_FACE:
        return known  # by which the network was built
    made = derived_description(network, source, found, part, unsaid)
    return known if known is not None and same_settings(part, known, made) else made


def derived_description(
    network: nn.Module, source: str | Path, found: Opened, part: str, unsaid: Unsaid
) -> dict[str, Any]:
    """The same from a network's own settings, and from the names of classes in a Hugging Face directory."""
    if part in ENCODERS:
        return asdict(network.config)
    if part == "probe":
        named = schema_of(found.content) if found.family is Family.HUGGING_FACE else {}
        return probe_part(network).description | ({"schema": named} if named else {})
    encoder = read_encoder_config(network, source, found, unsaid)
    return {"config": asdict(network.config), "encoder": asdict(encoder)}


def read_encoder_config(
    network: nn.Module, source: str | Path, found: Opened, unsaid: Unsaid
) -> EncoderConfig:
    """The config of the encoder whose tokens a predictor reads: of that in the same file, if there is one."""
    if found.family is Family.HUGGING_FACE:
        return hf_encoder_config(found.content)
    for part in ENCODERS:
        if part in read_card(source).parts:
            return empty_network(source, part, unsaid).config
    # Nothing but the width, and of V-JEPA 2.1 the number of levels, shows in a predictor.
    first = network.embed[0] if isinstance(network.embed, nn.Sequential) else network.embed
    levels = getattr(network, "levels", 1)
    width = first.in_features // levels // getattr(network.config, "merge", 1) ** 2
    return predicted_encoder(width, levels, getattr(network, "modality", None) is not None)


def schema_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a config.json says of a classifier's classes, as in a probe's schema; nothing if it does not."""
    schema = hf_schema(config)
    unnamed = all(str(name).startswith(PLACEHOLDER) for name in schema.get("names", ()))
    return {} if unnamed else schema


def hf_part(folder: Path, part: str) -> StoredState:
    """The tensors of one network of a Hugging Face directory, under the names there."""
    starts = tuple(start for start, named in HF_PARTS.items() if named == part)
    tensors: dict[str, StoredTensor] = {}
    for file in hf_files(folder):
        tensors |= stored_of(read_tensors(file)) if check_kind(file) == "torch" else stored_in(file)
    # A classifier's directory holds the encoder under a further prefix.
    named = {key.removeprefix("vjepa2."): stored for key, stored in tensors.items()}
    return {key: stored for key, stored in named.items() if key.startswith(starts)}


@as_checkpoint_error
def classifiers_in(source: str | Path) -> int:
    """How many classifiers a source of a probe holds; several are only in files of Meta's."""
    found = read_source(source)
    is_meta = found.family not in (Family.EXPORT, Family.HUGGING_FACE)
    return len(classifiers_of(found.content)) if is_meta else 1


def meta_part(found: Opened, part: str, network: nn.Module, head: int | None) -> StoredState:
    """The tensors of one network of a file of Meta's, under the names there. head: Number of a classifier.

    Raises CheckpointError if they are not as they were written.
    """
    if part == "probe":
        state = plain(chosen_classifier(found.path, found.content, head or 0))
        check_numbers(found.path, state)
        return stored_of(state)
    state = read_meta(found, META_NETWORKS.get(part, "predictor"))
    # The map of a camera's pose, which was never trained, is not part of the network.
    unused = "extrinsics_encoder." if getattr(network, "embed_extrinsics", None) is None else "-"
    return stored_of({key: value for key, value in state.items() if not key.startswith(unused)})
