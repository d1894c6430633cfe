"""Do the encoder, the predictor, the schema and the images fit each other? Refusals before the first plan."""

from torch import Tensor

from vjepa.errors import require
from vjepa.models.ac_predictor import ACPredictor
from vjepa.models.encoder import Encoder
from vjepa.robots.schema import StateSchema
from vjepa.weights.settings import settings

MEANING = ("units", "position", "rotation", "gripper", "delta", "centres")
"""Fields of a schema that decide what its numbers mean. Names and bounds of a search do not."""


def check_fit(encoder: Encoder, ac: ACPredictor, schema: StateSchema) -> None:
    """Raise UserError for networks that do not fit each other, which otherwise fail at the first plan."""
    # The predictor embeds squares of merge x merge tokens at once.
    width = ac.embed.in_features // ac.config.merge**2
    require(
        width == encoder.config.width,
        f"the predictor was trained on tokens of width {width}, "
        f"but the encoder makes {encoder.config.width}; give the encoder that the AC stage was run with",
    )
    check_same_schema(ac, schema)
    expected = (ac.config.state_dim, ac.config.action_dim)
    given = (schema.state_dims, schema.action_dims)
    require(
        expected == given,
        f"the predictor takes states and actions of {expected} numbers, the schema has {given}; "
        "give the one that it was trained under",
    )
    require(
        not ac.config.extrinsics_dim,
        "the predictor needs the camera's pose at every step, which planning does not give; "
        "train the AC stage with model.predictor.extrinsics_dim: 0",
    )


def check_same_schema(ac: ACPredictor, schema: StateSchema) -> None:
    """Raise UserError if the predictor's file names another meaning of states and actions than the schema."""
    if ac.schema is None:
        return
    trained = settings(StateSchema, ac.schema)
    pairs = {key: (getattr(trained, key), getattr(schema, key)) for key in MEANING}
    different = [f"{key} {ours}, not {other}" for key, (ours, other) in pairs.items() if ours != other]
    require(
        not different,
        f"the predictor was trained under another schema: {'; '.join(different)}. "
        "Take load_world_model, which reads the schema from the weights",
    )


def check_images(image: Tensor, size: int | None) -> None:
    """Raise UserError unless these are normalised images `b c h w`, of `size` pixels if that is known."""
    normalised = image.ndim == 4 and image.shape[1] == 3 and image.is_floating_point()
    kind = str(image.dtype).removeprefix("torch.")
    require(
        normalised,
        f"a world model encodes normalised images `b c h w` (float, 3 channels), got {kind} "
        f"{tuple(image.shape)}; images `h w c` of 0..255 go through `vjepa.load(...).plan`",
    )
    height, width = image.shape[-2:]
    require(
        size is None or (height, width) == (size, size),
        f"the predictor learned from images of {size} pixels, got {height} x {width}; resize them",
    )
