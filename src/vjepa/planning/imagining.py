"""An action-conditioned predictor beside recorded episodes: loaded, and compared with encoder and recording.

    predictor = load_imagining("ac.safetensors", encoder, schema=data.schema, fps=4.0)

A planner takes everything from the weights (`load`). Here a recording says what states and actions mean, how
many there are in a second, and how large a frame is, so weights that say otherwise are refused.
"""

from vjepa.errors import UserError, require
from vjepa.models.ac_predictor import ACPredictor
from vjepa.models.encoder import Encoder
from vjepa.models.frozen import freeze
from vjepa.planning.fit import check_fit
from vjepa.planning.load import acting_of
from vjepa.robots.schema import StateSchema
from vjepa.weights.files import check_same_encoder
from vjepa.weights.load import load_ac_predictor


def load_imagining(source: str, encoder: Encoder, schema: StateSchema, fps: float) -> ACPredictor:
    """The frozen predictor in a source, for episodes of this schema with so many actions a second.

    Raises CheckpointError if the source cannot be read, and UserError, which names it, if it does not fit.
    """
    predictor = freeze(load_ac_predictor(source))
    try:
        check_fit(encoder, predictor, schema)
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
    acting = acting_of(source)
    check_same_encoder(encoder, acting.encoder_digest, source)
    require(
        acting.fps in (None, fps),
        f"{source} predicts {acting.fps:g} frames a second, but data.window.fps={fps:g}; give {acting.fps:g}",
    )
    return predictor
