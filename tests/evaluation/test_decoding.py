"""Laws of the scores of decoded pictures: equal pictures, single pixels, masks, and what is written."""

import json
from math import inf, isclose

import pytest
import torch
from PIL import Image

from vjepa import torchvision_ops  # noqa: F401  before torchmetrics imports torchvision

# isort: split
from lightning.pytorch.strategies import SingleDeviceStrategy
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from vjepa.evaluation.decoded_windows import HeldOutPictures, decoded_windows
from vjepa.evaluation.decoding_pictures import example, film, sheet
from vjepa.evaluation.decoding_report import closing_score, decoding_tables, exported_scores
from vjepa.evaluation.decoding_scores import Pictures, frame_scores, moving_mask, psnr
from vjepa.models.decoder import Decoder, DecoderConfig
from vjepa.models.encoder import EncoderConfig
from vjepa.robots.schema import END_EFFECTOR
from vjepa.robots.window_batches import TrajectoryBatch

ON_THE_CPU = SingleDeviceStrategy("cpu")
TINY = EncoderConfig(width=24, depth=1, heads=2, mlp_width=48, patch=4)


def seeded(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def computed(*batches: Pictures) -> HeldOutPictures:
    held_out = HeldOutPictures(batches[0].real.shape[1] - 1)
    for number, pictures in enumerate(batches):
        held_out.add(pictures, {"moving": moving_mask(pictures.real)})
        held_out.keep(pictures, number, len(batches))
    held_out.compute(ON_THE_CPU)
    return held_out


def test_equal_pictures_have_no_error():
    real = seeded(2, 3, 3, 16, 16)
    scores = computed(Pictures(real, real, real[:, 1:])).curves
    for name in ("decoded beside real", "imagined beside real", "imagined beside decoded"):
        for region in ("picture", "moving"):
            found = scores[name][region]
            assert found["psnr"] == [inf, inf] and found["error"] == [0, 0]
            assert found["ssim"] == pytest.approx([1, 1], abs=1e-4)
    assert scores["persistence beside real"]["picture"]["psnr"][0] < 20


def test_scores_are_those_of_torchmetrics():
    truth = seeded(3, 3, 20, 24)
    shown = (truth + 0.1 * seeded(3, 3, 20, 24)).clamp(0, 1)
    values, weight = frame_scores(shown, truth, {})["picture"]
    assert weight == 3 and isclose(values["error"], (shown - truth).abs().mean(), rel_tol=1e-5)
    assert isclose(psnr(float(values["mse"])), peak_signal_noise_ratio(shown, truth, 1.0), rel_tol=1e-5)
    assert isclose(
        values["ssim"], structural_similarity_index_measure(shown, truth, data_range=1.0), rel_tol=1e-4
    )


def test_a_mask_holds_its_pixels_and_no_other():
    truth = seeded(2, 3, 16, 16)
    mask = torch.zeros(2, 16, 16, dtype=torch.bool)
    mask[0, 4:6, 8:11] = True
    outside, inside = truth.clone(), truth.clone()
    outside[~mask[:, None].expand_as(truth)] = 0
    inside[0, :, 4:6, 8:11] = 1.0
    scores, weight = frame_scores(outside, truth, {"hand": mask})["hand"]
    assert weight == 6 and scores["error"] == scores["mse"] == 0
    scores = frame_scores(inside, truth, {"hand": mask})
    assert isclose(scores["hand"][0]["error"], (1 - truth[0, :, 4:6, 8:11]).mean(), rel_tol=1e-5)
    assert scores["hand"][0]["error"] > 10 * scores["picture"][0]["error"]
    assert "hand" not in frame_scores(truth, truth, {"hand": mask & False})


def test_what_moves_is_what_differs_from_the_first_frame():
    clip = torch.zeros(1, 3, 3, 4, 4)
    clip[0, 1, 1, 0, 0] = 0.09  # less than a codec's noise and a shadow's edge
    clip[0, 1, 2, 1, 1] = 0.2
    clip[0, 2, :, 2, 2] = 0.5
    assert moving_mask(clip).nonzero().tolist() == [[0, 0, 1, 1], [0, 1, 2, 2]]


def test_batches_count_by_their_windows_and_pixels():
    """However windows are cut into batches, the scores are the same."""
    real, decoded = seeded(5, 3, 3, 16, 16), seeded(5, 3, 3, 16, 16).flip(0)
    whole = computed(Pictures(real, decoded, None))
    cut = computed(Pictures(real[:1], decoded[:1], None), Pictures(real[1:], decoded[1:], None))
    assert whole.windows == cut.windows == 5 and whole.curves.keys() == cut.curves.keys()
    for name, regions in whole.curves.items():
        for region, measures in regions.items():
            for measure, values in measures.items():
                assert cut.curves[name][region][measure] == pytest.approx(values, rel=1e-4), name


def test_persistence_is_the_decoded_first_frame():
    torch.manual_seed(0)
    decoder = Decoder(DecoderConfig(width=16, depth=1, narrow=4), TINY)
    tokens = torch.randn(2, 3 * 16, 24)
    clip = torch.randint(0, 256, (2, 3, 3, 16, 16), dtype=torch.uint8)
    nothing = torch.zeros(2, 3, 7)
    batch = TrajectoryBatch(clip, nothing, nothing[:, 1:], *[torch.zeros(2, 3)] * 3, *[None] * 5, lost=0)
    pictures = decoded_windows(decoder, None, tokens, batch, END_EFFECTOR)
    first = decoder(tokens[:, :16]).clamp(0, 1)
    shown = {name: (one, other) for name, one, other in pictures.compared()}
    assert not any(name.startswith("imagined") for name in shown)
    still, real = shown["persistence beside real"]
    torch.testing.assert_close(still, torch.stack([first, first], dim=1))
    torch.testing.assert_close(real, clip[:, 1:].float() / 255)
    again = Pictures(pictures.real, pictures.decoded, pictures.decoded[:, :1].expand(-1, 2, -1, -1, -1))
    scores = computed(again).curves
    assert scores["imagined beside real"] == scores["persistence beside real"]


def test_the_report_is_written_printed_and_drawn(tmp_path, capsys):
    real, decoded = seeded(2, 9, 3, 16, 16), seeded(2, 9, 3, 16, 16).flip(0)
    held_out = computed(Pictures(real, decoded, real[:, 1:]))
    held_out.write(4.0, tmp_path)
    content = json.loads((tmp_path / "decoding.json").read_text(), parse_constant=pytest.fail)
    assert (
        content["windows"] == 2 and content["scores"]["imagined beside real"]["picture"]["psnr"] == [None] * 8
    )
    told = capsys.readouterr().out
    assert told.strip() == decoding_tables(held_out.curves, 2)
    assert "inf" in told and "pixels that have changed by more than 0.1" in told
    scores = exported_scores(content["scores"])
    assert scores["masked error, imagined, 8 on"] == 0 and scores["PSNR of decoding, dB"] > 5
    assert "imagined 0.000, persistence 0." in closing_score(content["scores"])
    # Two first frames, then three for each of three horizons.
    assert Image.open(tmp_path / "decoding.png").width == 11 * 96 + 10 * 4
    gif = Image.open(tmp_path / "decoding.gif")
    assert gif.width == 3 * 192 + 2 * 4 and gif.n_frames >= 8


def test_pictures_show_what_they_say():
    real, decoded, imagined = (torch.full((1, 3, 3, 96, 96), value) for value in (0.2, 0.6, 1.0))
    one = example(Pictures(real, decoded, imagined[:, 1:]))
    assert one.imagined[:, 0, 0, 0].tolist() == [153, 255, 255]  # it begins where decoding begins
    # A pixel of every picture: now, then one and two actions on.
    row = sheet([one])[-1, ::100, 0].tolist()
    assert row == [51, 153, *(51, 153, 255), *(51, 153, 255)]
    assert film(one)[:, -1, ::196, 0].tolist() == [[51, 153, 153], [51, 153, 255], [51, 153, 255]]
