"""Networks from weights: our exports, Meta's `.pt` files and Hugging Face directories.

    encoder = load_encoder("runs/demo/pretrain/model.safetensors")
    encoder = load_encoder("vitl.pt")

Loading is strict everywhere: a missing, surplus or misshaped tensor is an error that lists them all. A source
that is missing, unreadable or does not fit raises CheckpointError.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from vjepa.errors import require
from vjepa.models.ac_predictor import ACPredictor, ACPredictorConfig
from vjepa.models.anticipation import AnticipationProbe
from vjepa.models.cloned_policy import ClonedPolicy, ClonedPolicyConfig
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.predictor import Predictor, PredictorConfig
from vjepa.models.probe import AttentiveProbe, ProbeConfig
from vjepa.models.state_reader import StateReader, StateReaderConfig
from vjepa.weights.build import build
from vjepa.weights.classifiers import Head, check_head
from vjepa.weights.export import read_export
from vjepa.weights.family import Family
from vjepa.weights.files import CheckpointError, State, as_checkpoint_error, check_exists
from vjepa.weights.heads import check_said, probe_heads_of
from vjepa.weights.huggingface import hf_encoder_config, hf_predictor_config, read_hf, read_hf_part
from vjepa.weights.keymaps import (
    HF_ENCODER,
    HF_PREDICTOR,
    HF_PROBE,
    META_AC_PREDICTOR,
    META_ENCODER,
    META_PREDICTOR,
    block_count,
    translate,
)
from vjepa.weights.meta import (
    meta_ac_predictor_configs,
    meta_encoder_config,
    meta_predictor_configs,
    own_part,
    read_meta,
    read_meta_predictor,
    read_meta_probe,
)
from vjepa.weights.settings import settings
from vjepa.weights.source import Opened, read_source

Config = TypeVar("Config", PredictorConfig, ACPredictorConfig)
Weights = Literal["ema", "student"]
"""The averaged target encoder, which the papers evaluate, or the trained one."""


@as_checkpoint_error
def load_encoder(
    source: str | Path,
    weights: Weights = "ema",
    heads: int | None = None,
    family: str | None = None,
    levels: tuple[int, ...] | None = None,
) -> Encoder:
    """The encoder in our export, in Meta's `.pt` file, or in a Hugging Face directory.

    weights: Which encoder, where the source holds both.
    heads: Only for a file of Meta's whose width is not a published network's.
    family: `v-jepa-2`, only for a file of Meta's that could be V-JEPA 1's too.
    levels: Only for a file of V-JEPA 2.1 whose depth is not a published network's: the blocks of its levels.
    """
    require(weights in get_args(Weights), f"weights={repr(weights)[:80]} is not known; give ema or student")
    check_said(heads, levels)
    found = read_source(source, family)
    # These directories hold a single encoder, so `weights` has no effect on them.
    if found.family is Family.HUGGING_FACE:
        config = hf_encoder_config(found.content)
        state = translate(read_hf(found.path), "encoder.", HF_ENCODER, found.path)
    elif found.family is Family.EXPORT:
        description, state = read_export(found.path, weights)
        config = settings(EncoderConfig, description)
    else:
        state = read_meta(found, "target_encoder" if weights == "ema" else "encoder")
        # Heads leave no trace in the shapes, so they come from our settings, the width or the caller.
        known = own_part(found, weights)
        config = (
            settings(EncoderConfig, known) if known else meta_encoder_config(state, heads, levels, found.path)
        )
        state = translate(state, "", META_ENCODER, found.path)
    return build(Encoder, config, state=state, source=found.path)


@as_checkpoint_error
def load_predictor(source: str | Path, heads: int | None = None, family: str | None = None) -> Predictor:
    """The pretraining predictor in a source of the same kinds.

    heads: Only for a file of Meta's whose predictor is not of the published width, 384.
    family: As for `load_encoder`.
    """
    check_said(heads)
    found = read_source(source, family)
    if found.family is Family.HUGGING_FACE:
        state = translate(read_hf_part(found.path, "predictor"), "predictor.", HF_PREDICTOR, found.path)
        config = hf_predictor_config(found.content)
        encoder = hf_encoder_config(found.content)
    elif found.family is Family.EXPORT:
        description, state = read_export(found.path, "predictor")
        config, encoder = predictor_configs(description, PredictorConfig)
    else:
        state = translate(read_meta_predictor(found), "", META_PREDICTOR, found.path)
        known = own_part(found, "predictor")
        config, encoder = (
            predictor_configs(known, PredictorConfig)
            if known
            else meta_predictor_configs(state, heads, found)
        )
    check_reads(encoder, own_encoder(found), found.path)
    return build(Predictor, config, encoder, state=state, source=found.path)


def own_encoder(found: Opened) -> EncoderConfig | None:
    """The encoder beside a predictor in what we wrote; None where there is none, or nothing says."""
    known = own_part(found, "ema") or own_part(found, "student")
    return settings(EncoderConfig, known) if known else None


def check_reads(read: EncoderConfig, beside: EncoderConfig | None, source: Path) -> None:
    """Raise CheckpointError if a predictor reads another encoder's tokens than those of the one beside it."""
    if beside and (read.width, read.levels) != (beside.width, beside.levels):
        raise CheckpointError(
            f"{source}: its predictor reads levels {[*read.levels]} of width {read.width}, and its encoder "
            f"has levels {[*beside.levels]} of width {beside.width}; give networks that were trained together"
        )


def predictor_configs(description: Mapping[str, Any], kind: type[Config]) -> tuple[Config, EncoderConfig]:
    """The config of a predictor, of a kind, and that of its encoder, of what an export says of it."""
    return settings(kind, description["config"]), settings(EncoderConfig, description["encoder"])


@as_checkpoint_error
def load_probe(source: str | Path, heads: int | None = None, head: Head = None) -> AttentiveProbe:
    """The attentive probe in a source of the same kinds.

    heads: Only for a file of Meta's that reads tokens of an unpublished width.
    head: Which classifier of a file of Meta's, which may hold several: its number, from 0, or `best` if the
        file says how accurate they are. Not given: the first, and a line on stderr says of how many.
    """
    check_said(heads)
    found = read_source(source)
    if found.family in (Family.EXPORT, Family.HUGGING_FACE):
        check_head(found.path, head, 1)
    if found.family is Family.EXPORT:
        description, state = read_export(found.path, "probe")
        config, sizes = probe_of_description(description)
    elif found.family is Family.HUGGING_FACE:
        state = translate(read_hf_part(found.path, "probe"), "", HF_PROBE, found.path)
        config, sizes = probe_of_shapes(state, hf_encoder_config(found.content).heads, found.path)
    else:
        state = read_meta_probe(found, head)
        known = own_part(found, "probe")
        config, sizes = probe_of_description(known) if known else probe_of_shapes(state, heads, found.path)
    return build(AttentiveProbe, config, *sizes, state=state, source=found.path)


def probe_of_description(description: Mapping[str, Any]) -> tuple[ProbeConfig, tuple[int, int]]:
    """Settings, and width and classes, of a probe, of what an export says of it."""
    return settings(ProbeConfig, description["config"]), (description["width"], description["classes"])


def probe_of_shapes(state: State, heads: int | None, source: Path) -> tuple[ProbeConfig, tuple[int, int]]:
    """Settings, and width and classes, of a probe of the sizes that tensors under our names imply."""
    classes, width = state["head.weight"].shape
    # The last block, which reads with a query, is not in the list of blocks.
    depth = block_count(state, "pool.blocks.") + 1
    return ProbeConfig(depth, heads or probe_heads_of(width, source)), (width, classes)


@as_checkpoint_error
def load_anticipation(source: str | Path) -> AnticipationProbe:
    """The probe of coming actions in an anticipation stage's export, whose schema names its classes."""
    source = check_exists(source)
    description, state = read_export(source, "anticipation")
    sizes = tuple(len(description["schema"][kind]) for kind in ("verbs", "nouns", "actions"))
    config = settings(ProbeConfig, description["config"])
    return build(AnticipationProbe, config, description["width"], sizes, state=state, source=source)


@as_checkpoint_error
def load_ac_predictor(source: str | Path, heads: int | None = None, extrinsics: bool = False) -> ACPredictor:
    """The action-conditioned predictor in an AC stage's export, or in Meta's `.pt` file.

    heads: Only for a file of Meta's whose predictor is not of the published width, 1024.
    extrinsics: Load the map of the camera's extrinsics too. Meta's files hold it, but training never used it.
    """
    check_said(heads)
    found = read_source(source)
    if found.family not in (Family.EXPORT, Family.HUGGING_FACE):
        state = read_meta_predictor(found, of_actions=True)
        known = own_part(found, "ac_predictor")
        # A map that was never trained would add one token of noise to every step.
        if not (extrinsics or known):
            state = {k: v for k, v in state.items() if not k.startswith("extrinsics_encoder.")}
        state = translate(state, "", META_AC_PREDICTOR, found.path)
        config, encoder = (
            predictor_configs(known, ACPredictorConfig)
            if known
            else meta_ac_predictor_configs(state, heads, found.path)
        )
        description = known or {}
    else:
        description, state = read_export(found.path, "ac_predictor")
        config, encoder = predictor_configs(description, ACPredictorConfig)
    predictor = build(ACPredictor, config, encoder, state=state, source=found.path)
    predictor.schema = description.get("schema") or None
    return predictor


@as_checkpoint_error
def load_policy(source: str | Path) -> ClonedPolicy:
    """The cloned policy in a clone stage's export."""
    source = check_exists(source)
    description, state = read_export(source, "policy")
    config = settings(ClonedPolicyConfig, description["config"])
    return build(ClonedPolicy, config, state=state, source=source)


@as_checkpoint_error
def load_state_reader(source: str | Path) -> StateReader:
    """The reader of the arm's state in an AC stage's export."""
    source = check_exists(source)
    description, state = read_export(source, "state_reader")
    config = settings(StateReaderConfig, description["config"])
    return build(StateReader, config, description["width"], state=state, source=source)
