"""Meta."""

from pathlib import Path

from vjepa.models.ac_predictor import ACPredictor, ACPredictorConfig
from vjepa.models.encoder import EncoderConfig
from vjepa.models.predictor import Predictor, PredictorConfig
from vjepa.models.probe import AttentiveProbe, ProbeConfig
from vjepa.weights.files import CheckpointError, State, read_pickle, strictly
from vjepa.weights.keymaps import UPSTREAM_PROBE, block_count, translate

# Upstream files do not say how many heads their weights have; these are the published networks, by width.
RELEASED_HEADS = {384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 22, 1664: 26}


def read_upstream(path: Path, name: str) -> State:
    """One network of a checkpoint of the public trainer, without the wrappers' prefixes."""
    checkpoint = read_pickle(path)
    if name not in checkpoint:
        found = ", ".join(map(str, checkpoint))
        raise CheckpointError(
            f"{path} holds no '{name}' but {found}; expected a checkpoint of the public V-JEPA 2 trainer"
        )
    return {
        key.removeprefix("module.").removeprefix("backbone."): value
        for key, value in checkpoint[name].items()
    }


def upstream_encoder_config(state: State, heads: int | None, source: Path) -> EncoderConfig:
    """The config that the tensors' shapes imply."""
    width, _, tubelet, patch, _ = state["patch_embed.proj.weight"].shape
    heads = heads or RELEASED_HEADS.get(width)
    if heads is None:
        raise CheckpointError(
            f"{source}: width {width} is not a published network's, so its heads are unknown; pass heads="
        )
    mlp_width, depth = state["blocks.0.mlp.fc1.weight"].shape[0], block_count(state)
    return EncoderConfig(
        width=width, depth=depth, heads=heads, mlp_width=mlp_width, patch=patch, tubelet=tubelet
    )


def upstream_predictor(translated: State, heads: int) -> Predictor:
    width, encoder_width = translated["embed.weight"].shape
    config = PredictorConfig(
        width=width,
        depth=block_count(translated),
        heads=heads,
        mlp_width=translated["blocks.0.mlp.0.weight"].shape[0],
        mask_tokens=translated["mask_tokens"].shape[0],
    )
    return Predictor(config, EncoderConfig(width=encoder_width, heads=1))


def upstream_ac_predictor(translated: State, heads: int) -> ACPredictor:
    width, encoder_width = translated["embed.weight"].shape
    extrinsics = translated.get("embed_extrinsics.weight")
    config = ACPredictorConfig(
        width=width,
        depth=block_count(translated),
        heads=heads,
        mlp_width=translated["blocks.0.mlp.0.weight"].shape[0],
        action_dim=translated["embed_action.weight"].shape[1],
        state_dim=translated["embed_state.weight"].shape[1],
        extrinsics_dim=0 if extrinsics is None else extrinsics.shape[1],
    )
    return ACPredictor(config, EncoderConfig(width=encoder_width, heads=1))


def upstream_probe(source: Path, heads: int) -> AttentiveProbe:
    networks = read_pickle(source).get("classifiers")
    if not networks:
        raise CheckpointError(
            f"{source} holds no 'classifiers'; expected a checkpoint of the public evaluation code"
        )
    state = {key.removeprefix("module."): value for key, value in networks[0].items()}
    translated = translate(state, "", UPSTREAM_PROBE, source)
    classes, width = translated["head.weight"].shape
    depth = 1 + len({key.split(".")[2] for key in translated if key.startswith("pool.blocks.")})
    return strictly(AttentiveProbe(ProbeConfig(depth, heads), width, classes), translated, source)
