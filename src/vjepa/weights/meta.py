"""Meta's `.pt` files, as the public code writes them: which networks they hold, and their sizes.

They hold no config, so sizes are read off the tensors' shapes. The number of heads leaves no trace there.
"""

from pathlib import Path

from vjepa.models.ac_predictor import ACPredictor, ACPredictorConfig
from vjepa.models.encoder import EncoderConfig
from vjepa.models.predictor import Predictor, PredictorConfig
from vjepa.weights.files import CheckpointError, State, read_pickle
from vjepa.weights.keymaps import META_PROBE, block_count, translate

RELEASED_HEADS = {384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 22, 1664: 26}
"""Heads of the published encoders, by width."""


def read_meta(path: Path, network: str) -> State:
    """The tensors of one network of a checkpoint, under Meta's names without the prefixes of wrappers.

    Raises CheckpointError if the file holds no such network.
    """
    checkpoint = read_pickle(path)
    if network not in checkpoint:
        names = ", ".join(map(str, checkpoint))
        raise CheckpointError(
            f"{path} holds no '{network}' but {names}; expected a checkpoint of the public V-JEPA 2 trainer"
        )
    # Distributed training adds `module.`, the masking wrapper `backbone.`.
    return {
        key.removeprefix("module.").removeprefix("backbone."): value
        for key, value in checkpoint[network].items()
    }


def meta_encoder_config(state: State, heads: int | None, source: Path) -> EncoderConfig:
    """The config that the shapes of tensors under Meta's names imply.

    heads: Needed for an encoder of unpublished width. Raises CheckpointError if it is not given then.
    """
    # The kernel of a 3-D convolution: output channels, colours, frames, rows, columns.
    width, _, tubelet, patch, _ = state["patch_embed.proj.weight"].shape
    heads = heads or RELEASED_HEADS.get(width)
    if heads is None:
        raise CheckpointError(
            f"{source}: width {width} is not a published network's, so its heads are unknown; pass heads="
        )
    # `rope` stays `released`. V-JEPA 2.1, whose layout differs, is refused: no map has its tensors.
    return EncoderConfig(
        width=width,
        depth=block_count(state, "blocks."),
        heads=heads,
        mlp_width=state["blocks.0.mlp.fc1.weight"].shape[0],
        patch=patch,
        tubelet=tubelet,
    )


def meta_predictor(state: State, heads: int) -> Predictor:
    """An untrained predictor of the sizes that tensors under our names imply."""
    width, encoder_width = state["embed.weight"].shape
    config = PredictorConfig(
        width=width,
        depth=block_count(state, "blocks."),
        heads=heads,
        mlp_width=state["blocks.0.mlp.0.weight"].shape[0],
        mask_tokens=state["mask_tokens"].shape[0],
    )
    # Of the encoder, a predictor needs only its width and its rotary layout.
    return Predictor(config, EncoderConfig(width=encoder_width, heads=1))


def meta_ac_predictor(state: State, heads: int) -> ACPredictor:
    """An untrained action-conditioned predictor of the sizes that tensors under our names imply."""
    width, encoder_width = state["embed.weight"].shape
    extrinsics = state.get("embed_extrinsics.weight")
    config = ACPredictorConfig(
        width=width,
        depth=block_count(state, "blocks."),
        heads=heads,
        mlp_width=state["blocks.0.mlp.0.weight"].shape[0],
        action_dim=state["embed_action.weight"].shape[1],
        state_dim=state["embed_state.weight"].shape[1],
        extrinsics_dim=0 if extrinsics is None else extrinsics.shape[1],
    )
    return ACPredictor(config, EncoderConfig(width=encoder_width, heads=1))


def read_meta_probe(path: Path) -> State:
    """The tensors of an evaluation's first classifier, under our names.

    Raises CheckpointError if the file holds no classifiers.
    """
    classifiers = read_pickle(path).get("classifiers")
    if not classifiers:
        raise CheckpointError(
            f"{path} holds no 'classifiers'; expected a checkpoint of the public evaluation code"
        )
    # An evaluation trains several classifiers side by side, and all of them are in the list.
    state = {key.removeprefix("module."): value for key, value in classifiers[0].items()}
    return translate(state, "", META_PROBE, path)
