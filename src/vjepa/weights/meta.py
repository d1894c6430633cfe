"""Meta's `.pt` files, as the public code writes them: which networks they hold, and their sizes.

They hold no config, so sizes are read off the tensors' shapes. What leaves no trace there, such as the number
of heads, follows from a published name or is given; where it is taken as usual, a line on stderr says so.
"""

from dataclasses import replace
from pathlib import Path

from vjepa.errors import announce
from vjepa.models.ac_predictor import ACPredictorConfig
from vjepa.models.encoder import EncoderConfig
from vjepa.models.predictor import PredictorConfig
from vjepa.weights.checksums import check_numbers
from vjepa.weights.classifiers import Head, chosen_classifier
from vjepa.weights.family import POSITIONS, READABLE, Family, plain
from vjepa.weights.files import CheckpointError, State
from vjepa.weights.heads import ac_predictor_heads_of, heads_of, levels_of, predictor_heads_of
from vjepa.weights.keymaps import META_PROBE, block_count, translate
from vjepa.weights.own_facts import OWN
from vjepa.weights.source import Opened, first_names, how_to_say

INSTEAD = {
    Family.LIGHTNING: "a run resumes from it; give the model.safetensors that its stage writes at the end",
    Family.PROBE: READABLE,
}
"""What to give instead of a file that lacks a network."""
ROPE_PIXELS = 256
"""Side of the frames in V-JEPA 2.1's pretraining, to whose grid positions are stretched."""
AVERAGED = ("ema_encoder", "target_encoder")
"""Names of the averaged encoder in a file; distilled ones of V-JEPA 2.1 hold the first."""


def own_part(found: Opened, part: str) -> dict | None:
    """What an export of ours says of a part, or what `weights convert` wrote beside it; None of others."""
    own = found.content if found.family is Family.EXPORT else found.content.get(OWN)
    return own["parts"].get(part) if own else None


def read_meta(found: Opened, network: str) -> State:
    """The tensors of one network of a checkpoint, under Meta's names without the prefixes of wrappers.

    Raises CheckpointError if the file holds no such network, or could be V-JEPA 1.
    """
    path = found.path
    if found.family is Family.V1_OR_V2:
        raise CheckpointError(f"{path} holds {found.family}; {how_to_say(path)}")
    if network == "target_encoder":
        network = next((name for name in AVERAGED if name in found.content), network)
    if network not in found.content:
        of_student = network == "target_encoder" and "encoder" in found.content
        student = "give --weights student for its encoder" if of_student else None
        raise CheckpointError(
            f"{path} holds {found.family}, and no '{network}' but {first_names(found.content)}; "
            f"{student or INSTEAD.get(found.family, 'give another file')}"
        )
    state = {key: value for key, value in plain(found.content[network]).items() if key not in POSITIONS}
    is_old = network != "predictor" and "norms_block.0.weight" not in state
    if found.family is Family.V21 and is_old and OWN not in found.content:
        raise CheckpointError(
            f"{path} is V-JEPA 2.1 by its name or other networks, but its '{network}' lacks norms of levels; "
            "give the file as it was published, or another name to one of V-JEPA 2"
        )
    check_numbers(path, state)
    return state


def read_meta_predictor(found: Opened, of_actions: bool = False) -> State:
    """The tensors of a predictor: of masked tokens, or of what actions do. Raises as `read_meta`."""
    state = read_meta(found, "predictor")
    if ("action_encoder.weight" in state) != of_actions:
        sorts = ["masked tokens, as in vitl.pt", "what actions do, as in vjepa2-ac-vitg.pt"]
        raise CheckpointError(
            f"{found.path} holds a predictor of {sorts[not of_actions]}; expected one of {sorts[of_actions]}"
        )
    return state


def meta_encoder_config(
    state: State, heads: int | None, levels: tuple[int, ...] | None, source: Path
) -> EncoderConfig:
    """The config that the shapes of tensors under Meta's names imply.

    heads, levels: Needed for an encoder of unpublished width, or depth. Raises CheckpointError if they are
    not given then.
    """
    # The kernel of a 3-D convolution: output channels, colours, frames, rows, columns.
    width, _, tubelet, patch, _ = state["patch_embed.proj.weight"].shape
    depth = block_count(state, "blocks.")
    norms = block_count(state, "norms_block.")
    config = EncoderConfig(
        width=width,
        depth=depth,
        heads=heads or heads_of(width, depth, source),
        mlp_width=state["blocks.0.mlp.fc1.weight"].shape[0],
        patch=patch,
        tubelet=tubelet,
    )
    if not norms:
        return config
    return replace(
        config,
        rope="interleaved",
        rope_grid=ROPE_PIXELS // config.patch,
        levels=tuple(levels or levels_of(depth, norms, source)),
        image_tokenizer="patch_embed_img.proj.weight" in state,
        modality="video_mod_embed" in state,
    )


def meta_predictor_configs(
    state: State, heads: int | None, found: Opened
) -> tuple[PredictorConfig, EncoderConfig]:
    """The configs of a predictor, and of its encoder, that tensors under our names imply.

    heads: Needed for a predictor of unpublished width. Raises CheckpointError if they are not given then.
    """
    # With several levels a first map leads from all of them to the width of one.
    first = state.get("embed.0.weight", state.get("embed.weight"))
    levels = first.shape[1] // first.shape[0] if "embed.0.weight" in state else 1
    width = state["mask_tokens"].shape[1]
    encoder_width = first.shape[1] // levels
    answer = state["out.weight"].shape[0] // levels
    is_new = "modality.video" in state
    config = PredictorConfig(
        width=width,
        depth=block_count(state, "blocks."),
        heads=heads or predictor_heads_of(width, encoder_width, found.path),
        mlp_width=state["blocks.0.mlp.0.weight"].shape[0],
        mask_tokens=state["mask_tokens"].shape[0],
        dense="out_kept.weight" in state,
        target_width=answer if is_new and levels == 1 else None,  # such a one was distilled
    )
    patch = patch_beside(found) if is_new else None
    return config, predicted_encoder(encoder_width, levels, is_new, patch)


def patch_beside(found: Opened) -> int | None:
    """The patches of the encoder in the same file as a predictor, pixels; None if there is none."""
    for name in (*AVERAGED, "encoder"):
        kernel = plain(found.content.get(name, {})).get("patch_embed.proj.weight")
        if kernel is not None:
            return kernel.shape[-1]
    announce(
        f"{found.path} holds a predictor without its encoder; patches of {EncoderConfig.patch} px are taken, "
        "as is usual"
    )
    return None


def predicted_encoder(width: int, levels: int, is_new: bool, patch: int | None = None) -> EncoderConfig:
    """What a predictor needs to know of its encoder. is_new: Whether it is of V-JEPA 2.1."""
    last = EncoderConfig.depth
    numbers = tuple(range(last - levels, last)) if levels > 1 else ()
    config = EncoderConfig(width=width, heads=1, patch=patch or EncoderConfig.patch, levels=numbers)
    if not is_new:
        return config
    return replace(config, rope="interleaved", rope_grid=ROPE_PIXELS // config.patch, modality=True)


def meta_ac_predictor_configs(
    state: State, heads: int | None, source: Path
) -> tuple[ACPredictorConfig, EncoderConfig]:
    """The configs of an action-conditioned predictor, and of its encoder, likewise."""
    width, encoder_width = state["embed.weight"].shape
    extrinsics = state.get("embed_extrinsics.weight")
    config = ACPredictorConfig(
        width=width,
        depth=block_count(state, "blocks."),
        heads=heads or ac_predictor_heads_of(width, encoder_width, source),
        mlp_width=state["blocks.0.mlp.0.weight"].shape[0],
        action_dim=state["embed_action.weight"].shape[1],
        state_dim=state["embed_state.weight"].shape[1],
        extrinsics_dim=0 if extrinsics is None else extrinsics.shape[1],
    )
    return config, EncoderConfig(width=encoder_width, heads=1)


def read_meta_probe(found: Opened, head: Head = None) -> State:
    """The tensors of one of an evaluation's classifiers, under our names. head: As for `chosen_classifier`.

    Raises CheckpointError if the file holds no classifiers, or not that one.
    """
    if not found.content.get("classifiers"):
        raise CheckpointError(
            f"{found.path} holds {found.family}, and no classifier; give a file such as ssv2-vitl-16x2x3.pt"
        )
    state = plain(chosen_classifier(found.path, found.content, head))
    check_numbers(found.path, state)
    return translate(state, "", META_PROBE, found.path)
