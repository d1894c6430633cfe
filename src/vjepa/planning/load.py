"""The world model of two sources of weights, as they were trained to go together.

    world = load_world_model("runs/demo/cooldown/model.safetensors", "runs/demo/ac/model.safetensors")
    world.schema, world.scales, world.size

What the predictor was trained for comes from its weights.
"""

from dataclasses import replace
from pathlib import Path

from vjepa.errors import UserError, damage_as_error, require
from vjepa.models.encoder import Encoder
from vjepa.planning.reading_world import Reader
from vjepa.planning.world_model import PAPER_SCALES, WorldModel, WorldModelConfig
from vjepa.robots.hand_view import HandView
from vjepa.robots.schema import END_EFFECTOR, StateSchema
from vjepa.weights.export import part_description, read_acting
from vjepa.weights.facts import ActingFacts, chosen
from vjepa.weights.files import CheckpointError, check_same_encoder
from vjepa.weights.load import load_ac_predictor, load_encoder, load_state_reader
from vjepa.weights.settings import settings
from vjepa.weights.source import is_export

RELEASED = ActingFacts(size=256, fps=4.0, scales=PAPER_SCALES)
"""What Meta's files do not say, but the paper does. Their states are those of `END_EFFECTOR`."""


def load_world_model(
    encoder: str | Path,
    ac: str | Path,
    config: WorldModelConfig = WorldModelConfig(),
    size: int | None = None,
    family: str | None = None,
) -> WorldModel:
    """The world model of an encoder and its action-conditioned predictor.

    Schema, scales and the size of images come from the predictor's weights.

    Args:
        encoder: A stage's export, Meta's `.pt`, a Hugging Face directory, or `demo`.
        ac: Export of an AC stage on that encoder, Meta's `.pt`, or `demo`.
        config: Memory; and scales, if they are to be others than those of the weights.
        size: Height and width of images, if they are to be others than those of the weights.
        family: As for `load_encoder`.

    Raises CheckpointError if a source cannot be read, and UserError if the two do not belong together.
    """
    with damage_as_error(ac, CheckpointError):
        acting = acting_of(ac)
        schema = schema_of(acting)
    scales = chosen(ac, "scales", acting.scales, config.scales, PAPER_SCALES)
    size = chosen(ac, "size", acting.size, size)
    network = load_encoder(encoder, acting.weights, family=family)
    check_size(size, network.config.patch, encoder)
    predictor = load_ac_predictor(ac)
    try:
        world = WorldModel(network, predictor, schema, replace(config, scales=scales), size)
    except UserError as error:
        # The networks know that they do not fit, but not which files they come from.
        raise UserError(f"{encoder} and {ac}: {error}") from error
    check_same_encoder(network, acting.encoder_digest, str(ac))
    return world


def check_size(size: int | None, patch: int, encoder: str | Path) -> None:
    """Raise UserError for images that the encoder's patches do not divide."""
    require(
        size is None or (size > 0 and size % patch == 0),
        f"size={size}: the encoder {encoder} cuts images into patches of {patch} px; "
        f"give a multiple, such as {max(1, round((size or 0) / patch)) * patch}",
    )


def acting_of(ac: str | Path) -> ActingFacts:
    """What the source of an action-conditioned predictor says, or the paper for Meta's files."""
    return read_acting(ac) if is_export(ac) else RELEASED


def schema_of(acting: ActingFacts) -> StateSchema:
    """What states and actions mean; for Meta's files, whose facts hold no schema, an end effector's."""
    return settings(StateSchema, acting.schema) if acting.schema else END_EFFECTOR


def load_reader(source: str | Path, encoder: Encoder) -> Reader:
    """The reader of the arm's state in the export of the stage `state`.

    Raises CheckpointError if it was trained on the tokens of another encoder.
    """
    with damage_as_error(source, CheckpointError):
        acting = read_acting(source, "state_reader")
        view = settings(HandView, part_description(source, "state_reader")["view"])
    check_same_encoder(encoder, acting.encoder_digest, str(source))
    if acting.size is None:
        raise CheckpointError(f"{source} does not say how large its pictures were; give another export")
    return Reader(load_state_reader(source).eval(), acting.size, view)
