"""The decoder in a decode stage's export: tokens of a frame to a picture.

decoder = load_decoder("runs/demo/decode/model.safetensors", encoder)
images = decoder.images(tokens)        # b n d -> b h w 3, uint8
"""

from pathlib import Path

from vjepa.models.decoder import Decoder, DecoderConfig
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.weights.build import build
from vjepa.weights.export import read_export
from vjepa.weights.files import as_checkpoint_error, check_exists, check_same_encoder
from vjepa.weights.settings import settings


@as_checkpoint_error
def load_decoder(source: str | Path, encoder: Encoder | None = None) -> Decoder:
    """The decoder in an export. Loading is strict, as everywhere.

    encoder: The one whose tokens it is to decode, which is then compared with the one that it was trained on.

    Raises CheckpointError for a file that holds no decoder, is damaged, or belongs to another encoder.
    """
    source = check_exists(source)
    description, state = read_export(source, "decoder")
    if encoder is not None:
        check_same_encoder(encoder, description.get("encoder_digest"), str(source))
    config = settings(DecoderConfig, description["config"])
    return build(Decoder, config, settings(EncoderConfig, description["encoder"]), state=state, source=source)
