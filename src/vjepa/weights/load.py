"""Hand-over between stages, and bridges from the released weights.

A finished stage writes one safetensors file: weights by part (`ema`, `student`, `predictor`, `probe`, `ac_predictor`), each
part's config as JSON in the metadata. It is written under another name, then renamed: the file's existence means that the
stage is done. The next stage rebuilds the networks from it, so an architecture is never written twice. Lightning's `.ckpt`
files serve resuming, and a cooldown that wants the optimiser state too.

Loading is strict everywhere: a missing, surplus or misshaped tensor is an error that lists them all.
"""

from pathlib import Path
from typing import Literal

from vjepa.models.ac_predictor import ACPredictor, ACPredictorConfig
from vjepa.models.anticipation import AnticipationProbe
from vjepa.models.cloned_policy import ClonedPolicy, ClonedPolicyConfig
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.predictor import Predictor, PredictorConfig
from vjepa.models.probe import AttentiveProbe, ProbeConfig
from vjepa.weights.export import read_export
from vjepa.weights.files import existing, strictly
from vjepa.weights.huggingface import hf_encoder_config, hf_predictor_config, hf_probe, read_hf
from vjepa.weights.keymaps import (
    HF_ENCODER,
    HF_PREDICTOR,
    UPSTREAM_AC_PREDICTOR,
    UPSTREAM_ENCODER,
    UPSTREAM_PREDICTOR,
    translate,
)
from vjepa.weights.meta import (
    read_upstream,
    upstream_ac_predictor,
    upstream_encoder_config,
    upstream_predictor,
    upstream_probe,
)

Weights = Literal["ema", "student"]


def load_encoder(source: str | Path, weights: Weights = "ema", heads: int | None = None) -> Encoder:
    """The encoder in `source`: our export, an upstream `.pt` file, or a Hugging Face directory.

    weights: the averaged target encoder (`ema`, which the papers evaluate) or the trained one (`student`).
    heads: only for an upstream file of unpublished width, which does not say.
    Raises CheckpointError for a source that is missing, of an unknown kind, or does not fit to the last tensor.
    """
    source = existing(source)
    if source.is_dir():
        config, state = read_hf(source)
        return strictly(
            Encoder(hf_encoder_config(config)), translate(state, "encoder.", HF_ENCODER, source), source
        )
    if source.suffix == ".safetensors":
        description, state = read_export(source, weights)
        return strictly(Encoder(EncoderConfig(**description)), state, source)
    state = read_upstream(source, "target_encoder" if weights == "ema" else "encoder")
    config = upstream_encoder_config(state, heads, source)
    return strictly(Encoder(config), translate(state, "", UPSTREAM_ENCODER, source), source)


def load_predictor(source: str | Path, heads: int | None = None) -> Predictor:
    """The pretraining predictor in `source`, of the kinds and with the errors of `load_encoder`.

    heads: of an upstream predictor that is not the published 384 x 12 one."""
    source = existing(source)
    if source.is_dir():
        config, state = read_hf(source)
        predictor = Predictor(hf_predictor_config(config), hf_encoder_config(config))
        return strictly(predictor, translate(state, "predictor.", HF_PREDICTOR, source), source)
    if source.suffix == ".safetensors":
        description, state = read_export(source, "predictor")
        encoder = EncoderConfig(**description["encoder"])
        return strictly(Predictor(PredictorConfig(**description["config"]), encoder), state, source)
    state = read_upstream(source, "predictor")
    translated = translate(state, "", UPSTREAM_PREDICTOR, source)
    return strictly(upstream_predictor(translated, heads or 12), translated, source)


def load_probe(source: str | Path, heads: int = 16) -> AttentiveProbe:
    """The attentive probe in the export of a probe stage, the first classifier of an upstream evaluation's `.pt`, or that of
    a Hugging Face directory.

    heads: of an upstream probe, which does not say."""
    if existing(source).is_dir():
        return hf_probe(Path(source))
    if Path(source).suffix == ".pt":
        return upstream_probe(existing(source), heads)
    description, state = read_export(existing(source), "probe")
    probe = AttentiveProbe(ProbeConfig(**description["config"]), description["width"], description["classes"])
    return strictly(probe, state, Path(source))


def load_anticipation(source: str | Path) -> AnticipationProbe:
    """The probe of coming actions in the export of an anticipation stage, whose schema names its classes."""
    description, state = read_export(existing(source), "anticipation")
    sizes = tuple(len(description["schema"][kind]) for kind in ("verbs", "nouns", "actions"))
    return strictly(
        AnticipationProbe(ProbeConfig(**description["config"]), description["width"], sizes),
        state,
        Path(source),
    )


def load_ac_predictor(source: str | Path, heads: int = 16, extrinsics: bool = False) -> ACPredictor:
    """The action-conditioned predictor in the export of an AC stage, or in an upstream `.pt`.

    heads, extrinsics: of an upstream predictor, which does not say. Released files hold a map for the camera's extrinsics
    that training never used; it is left out unless asked for."""
    source = existing(source)
    if source.suffix == ".pt":
        state = read_upstream(source, "predictor")
        used = {
            key: value
            for key, value in state.items()
            if extrinsics or not key.startswith("extrinsics_encoder.")
        }
        translated = translate(used, "", UPSTREAM_AC_PREDICTOR, source)
        return strictly(upstream_ac_predictor(translated, heads), translated, source)
    description, state = read_export(source, "ac_predictor")
    encoder = EncoderConfig(**description["encoder"])
    return strictly(ACPredictor(ACPredictorConfig(**description["config"]), encoder), state, source)


def load_policy(source: str | Path) -> ClonedPolicy:
    """The cloned policy in the export of a clone stage."""
    description, state = read_export(existing(source), "policy")
    return strictly(ClonedPolicy(ClonedPolicyConfig(**description["config"])), state, Path(source))
