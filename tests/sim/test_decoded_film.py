"""A film of the planner shows tokens as a decoder decodes them, where one is given."""

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("mujoco")

from tests.stages.test_plan import SIZE, setting, weights  # noqa: F401  fixtures: small networks, an evaluation
from vjepa.models.decoder import Decoder, DecoderConfig
from vjepa.sim.closed_loop.episodes import EpisodeRunner
from vjepa.sim.closed_loop.film import film_episode
from vjepa.weights.export import decoder_part, export
from vjepa.weights.facts import ActingFacts
from vjepa.weights.files import CheckpointError, weights_digest
from vjepa.weights.load import load_encoder


def test_tokens_are_shown_as_they_are_decoded(setting, tmp_path):  # noqa: F811
    encoder = load_encoder(setting.weights.encoder)
    decoder = Decoder(DecoderConfig(width=16, depth=1, narrow=4), encoder.config)
    # Whatever the tokens are, this one shows them grey.
    torch.nn.init.zeros_(decoder.colour.weight)
    for name, digest in (("own", weights_digest(encoder)), ("other", "0" * 12)):
        facts = ActingFacts(size=SIZE, encoder_digest=digest)
        part = decoder_part(decoder, encoder.config, facts)
        export(tmp_path / f"{name}.safetensors", {"decoder": part}, {})

    runner = EpisodeRunner(setting)
    shown = film_episode(runner, "reach", "model", 0, tmp_path / "film", tmp_path / "own.safetensors")
    plain = film_episode(runner, "reach", "model", 0, tmp_path / "plain")
    differs = (shown != plain).any(axis=-1).any(axis=0).nonzero()[0]
    grey = (shown == 128).all(axis=-1).sum(axis=0)
    columns = np.flatnonzero(grey > len(shown) // 2)
    # The columns `imagined` and `goal tokens` alone, and all of them.
    np.testing.assert_array_equal(differs, columns)
    assert len(columns) == 2 * 160 and Image.open(tmp_path / "film/film.gif").n_frames > 1
    with pytest.raises(CheckpointError, match=r"other\.safetensors was trained on the tokens of another"):
        film_episode(runner, "reach", "model", 0, tmp_path / "film", tmp_path / "other.safetensors")
