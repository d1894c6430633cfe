"""`look`: components, colours, windows, predictions, and the page, also in a browser where there is one."""

import json
import re

import numpy as np
import pytest
import torch
from einops import rearrange
from PIL import Image

from tests.conftest import moving_square
from tests.features.browser import CHROMIUM, Browser
from vjepa.__main__ import main
from vjepa.data.clips import ClipConfig
from vjepa.data.manifest import Row
from vjepa.data.transforms import normalise
from vjepa.drawing.film import write_mp4
from vjepa.features.components import TokenStatistics, cosine_error, unit_bytes
from vjepa.features.foreground import area_under_curve, find_foreground, foreground_masks, otsu, patch_motion
from vjepa.features.look import look
from vjepa.features.look_notes import card_rows
from vjepa.features.look_predictions import Forecaster, hidden_steps
from vjepa.features.look_windows import Timing, encode, film_frames_per_frame, picture_size, plan_video
from vjepa.features.token_colours import component_colours, oklab_to_rgb
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.layers import plain_norm
from vjepa.models.predictor import Predictor, PredictorConfig
from vjepa.weights.card import Card
from vjepa.weights.export import encoder_part, export, predictor_part
from vjepa.weights.facts import ActingFacts

CONFIG = EncoderConfig(width=24, depth=1, heads=2, mlp_width=48, patch=8, tubelet=2, init_std=0.2)
CLIP = ClipConfig(frames=4, fps=5.0, size=32, short="hold")
SECONDS = 3.0


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """An untrained encoder and predictor as an export."""
    torch.manual_seed(0)
    encoder = Encoder(CONFIG)
    predictor = Predictor(PredictorConfig(width=24, depth=1, heads=2, mlp_width=48), CONFIG)
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    info = {"stage": "pretrain", "clip": {"frames": 4, "fps": 5.0, "size": 32}, "licence": "MIT"}
    export(path, {"ema": encoder_part(encoder), "predictor": predictor_part(predictor, CONFIG)}, info)
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Three seconds at 10 frames a second, 48 x 32 px: a square that moves over noise."""
    path = tmp_path_factory.mktemp("film") / "square.mp4"
    frames = np.stack(moving_square(1, 0, frames=30))
    write_mp4(path, np.pad(frames, ((0, 0), (0, 0), (8, 8), (0, 0)), mode="edge"), fps=10)
    return path


@pytest.fixture(scope="module")
def page(weights, film, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "look.html"
    return look([film], encoder=weights, out=out, size=64, device="cpu")


def data_of(page):
    text = page.read_text()
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


# Components


def test_components_of_parts_are_those_of_the_whole():
    tokens = torch.randn(500, 6) @ torch.randn(6, 6) + 3
    statistics = TokenStatistics()
    for part in tokens.split(70):
        statistics.add(part)
    components = statistics.components(3)
    centred = tokens - tokens.mean(dim=0)
    _, values, axes = torch.linalg.svd(centred, full_matrices=False)
    assert torch.allclose((components.axes * axes[:3]).sum(dim=1).abs(), torch.ones(3), atol=1e-4)
    assert torch.allclose(components.shares, (values**2 / (values**2).sum())[:3], atol=1e-4)
    assert (components.axes.gather(1, components.axes.abs().argmax(1, keepdim=True)) > 0).all()


def test_cosines_of_all_components_are_exact_up_to_their_8_bits():
    tokens = torch.randn(2000, 16) @ torch.randn(16, 16) + 5
    statistics = TokenStatistics()
    statistics.add(tokens)
    assert cosine_error(tokens, statistics.components(16)) < 0.01
    # Fewer components lose something, and the page says how much.
    assert cosine_error(tokens, statistics.components(2)) > 0.05


def test_unit_bytes_keep_directions_and_zeros():
    vectors = torch.tensor([[3.0, -4.0], [0.0, 0.0]])
    assert unit_bytes(vectors).tolist() == [[95, -127], [0, 0]]
    assert unit_bytes(vectors * 1000).equal(unit_bytes(vectors))


# Colours and foreground


def test_colours_mean_the_same_in_all_videos_and_warm_is_the_foreground():
    torch.manual_seed(0)
    projected = torch.randn(2, 5, 6, 4)
    whole = component_colours([projected], foreground=1, sign=1)[0]
    parts = component_colours([projected[:1], projected[1:]], foreground=1, sign=1)
    assert torch.cat(parts).equal(whole)
    warm = whole[projected[..., 1] > 1].float().mean(dim=0)
    cold = whole[projected[..., 1] < -1].float().mean(dim=0)
    assert warm[0] > cold[0] + 50  # red
    assert warm[2] < cold[2] - 50  # blue


def test_opponent_values_of_zero_are_grey():
    red, green, blue = oklab_to_rgb(*torch.zeros(3, 1))[0]
    assert abs(red - green) < 1e-3
    assert abs(green - blue) < 1e-3


def test_the_foreground_is_the_component_that_moves():
    torch.manual_seed(0)
    motion = torch.rand(3, 6, 6)
    projected = torch.randn(3, 6, 6, 4)
    projected[..., 2] = -motion
    found = find_foreground([projected], [motion])
    assert (found.component, found.sign, found.by_motion) == (2, -1, True)
    assert found.agreement > 0.98


def test_the_foreground_of_an_image_is_away_from_the_border():
    projected = torch.zeros(1, 8, 8, 3)
    projected[:, 1:-1, 1:-1, 0] = 1
    found = find_foreground([projected], [torch.zeros(1, 8, 8)])
    assert (found.component, found.sign, found.by_motion) == (0, 1, False)


def test_one_threshold_parts_two_groups():
    values = torch.cat([torch.randn(50), torch.randn(50) + 20])
    assert values[:50].max() <= otsu(values) < values[50:].min()
    (mask,) = foreground_masks([rearrange(values, "(T H W) -> T H W", T=1, H=10)])
    assert (mask.flatten() > 0.5).tolist() == [False] * 50 + [True] * 50


def test_area_under_the_curve_is_the_share_of_pairs():
    scores = torch.tensor([0.0, 1.0, 2.0, 3.0])
    assert area_under_curve(scores, scores > 1.5) == 1.0
    assert area_under_curve(scores, scores < 1.5) == 0.0
    assert area_under_curve(scores, scores > 9) == 0.5


def test_motion_is_where_pixels_change():
    frames = torch.zeros(4, 3, 16, 16, dtype=torch.uint8)
    frames[1, :, :8, 8:] = 200
    motion = patch_motion(frames, 2, 2, 2)
    assert motion[0].argmax() == 1
    assert motion[0, 1].max() == 0
    assert motion[1].max() == 0


# Windows


@pytest.mark.parametrize("seconds", [0.1, 0.9, 1.6, 3.3, 10.333])
def test_windows_show_every_step_once(seconds):
    timing = Timing(ClipConfig(frames=8, fps=5.0, size=32), 2, 1)
    shown = [
        round(piece.start + step * timing.step_seconds, 6)
        for piece in timing.pieces(0.0, seconds)
        for step in range(piece.first, piece.stop)
    ]
    expected = max(int(seconds / timing.step_seconds + 1e-6), 1)
    assert shown == [round(step * timing.step_seconds, 6) for step in range(expected)]


def test_a_long_video_is_shown_in_evenly_spread_windows(film):
    timing = Timing(CLIP, 2, 1)
    row = Row(film, None, None, None)
    whole = plan_video(row, timing, 8, most_tokens=10**9, most_steps=10**9)
    few = plan_video(row, timing, 8, most_tokens=10**9, most_steps=6)
    assert (len(few.pieces), few.left_out) == (3, len(whole.pieces) - 3)
    assert few.pieces[0] == whole.pieces[0]
    assert few.pieces[-1] == whole.pieces[-1]


@pytest.mark.parametrize(("height", "width"), [(240, 426), (426, 240), (64, 64), (50, 4000)])
def test_pictures_have_the_area_asked_for_and_whole_patches(height, width):
    h, w = picture_size(height, width, 256, 16)
    assert h % 16 == w % 16 == 0
    assert abs(h * w / 256**2 - 1) < 0.1
    assert (h > w) == (height > width)


def test_a_film_is_smooth_unless_it_would_be_large():
    assert film_frames_per_frame(5.0, 50) == 3
    assert film_frames_per_frame(5.0, 10_000) == 1


# Predictions


def test_the_predictor_never_reads_the_hidden_half():
    torch.manual_seed(0)
    encoder = Encoder(CONFIG)
    predictor = Predictor(PredictorConfig(width=24, depth=1, heads=2, mlp_width=48), CONFIG)
    forecaster = Forecaster(encoder, encoder, predictor)
    clip = torch.randint(256, (8, 3, 16, 16), dtype=torch.uint8)
    other = clip.clone()
    other[4:] = 0
    tokens = encode(encoder, clip)
    # With the same targets, a changed hidden half must change nothing.
    first = forecaster.errors(clip, tokens)
    second = forecaster.errors(other, tokens)
    assert first.predicted.shape == (hidden_steps(4), 2, 2)
    assert torch.allclose(first.predicted, second.predicted, atol=1e-6)
    assert torch.allclose(first.unchanged, second.unchanged, atol=1e-6)


# The page


def test_a_perfect_predictor_errs_nowhere_and_the_baseline_repeats_the_last_seen_tokens(monkeypatch):
    torch.manual_seed(0)
    encoder = Encoder(CONFIG).eval()
    predictor = Predictor(PredictorConfig(width=24, depth=1, heads=2, mlp_width=48), CONFIG)
    clip = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)
    pixels = normalise(clip[None])
    true = plain_norm(encoder(pixels).detach())

    monkeypatch.setattr(Predictor, "forward", lambda self, context, keep, drop, grid: true[:, drop[0]])
    errors = Forecaster(encoder, encoder, predictor).errors(clip)
    assert torch.equal(errors.predicted, torch.zeros(2, 4, 4))

    n = 16  # tokens of a time step; the first two of four steps are seen
    seen = plain_norm(encoder(pixels, torch.arange(2 * n)[None]).detach())
    by_hand = (true[:, 2 * n :] - seen[:, n:].repeat(1, 2, 1)).abs().mean(dim=-1)
    torch.testing.assert_close(errors.unchanged, by_hand.reshape(2, 4, 4))


def test_the_page_holds_what_it_shows_and_loads_nothing(page):
    text = page.read_text()
    assert "<!-- " not in text
    assert not re.search(r'(?:src|href)="(?!data:)', text)
    assert "http" not in text.replace(data_text(text), "")
    data = data_of(page)
    (video,) = data["videos"]
    steps = int(SECONDS / 0.4 + 1e-6)
    assert video["grid"] == [steps, *(side // 8 for side in video["size"])]
    assert video["starts"] == pytest.approx([0.4 * step for step in range(steps)])
    assert ["Licence", "MIT"] in data["card"]
    assert any("squares of 32 px" in note for note in data["notes"])


def data_text(text):
    return re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1]


def test_errors_stand_at_hidden_moments_only(page):
    (video,) = data_of(page)["videos"]
    # Windows of two steps, the second of which is hidden; the last window shows only its hidden step.
    assert [value is None for value in video["predicted"]] == [True, False, True, False, True, False, False]
    assert [value is None for value in video["unchanged"]] == [value is None for value in video["predicted"]]


def test_the_page_is_the_same_each_time(page, weights, film, tmp_path):
    again = look([film], encoder=weights, out=tmp_path / "again.html", size=64, device="cpu")
    assert again.read_bytes() == page.read_bytes()


def test_images_and_several_videos_share_a_page(weights, film, tmp_path):
    still = tmp_path / "still.png"
    Image.fromarray(moving_square(0, 0)[0]).save(still)
    out = look([film, still], encoder=weights, out=tmp_path / "two.html", size=32, device="cpu")
    first, second = data_of(out)["videos"]
    assert not first["still"]
    assert second["still"]
    assert second["grid"][0] == 1
    assert second["predicted"] == []


def test_weights_without_a_predictor_say_so(film, tmp_path):
    path = tmp_path / "encoder.safetensors"
    export(path, {"ema": encoder_part(Encoder(CONFIG))}, {"clip": {"frames": 4, "fps": 5.0, "size": 32}})
    data = data_of(look([film], encoder=path, out=tmp_path / "look.html", size=32, device="cpu"))
    assert data["videos"][0]["predicted"] == []
    assert any("hold no predictor" in note for note in data["notes"])


def test_the_page_names_the_score_of_the_probe_and_leaves_acting_out():
    scores = {"our encoder": 0.8, "random encoder": 0.6, "chance": 0.1, "model, 1 ahead": 0.2}
    acting = ActingFacts({"names": ["x"]}, 64, 4.0, (1, 2))
    card = Card("a", "vjepa", (), scores=scores, measure="accuracy", acting=acting)
    rows = dict(card_rows(card))
    assert rows["Test accuracy of its probe"] == "0.800, random encoder 0.600"
    assert not any("ahead" in value for value in rows.values())
    assert not {"states", "scales", "angles", "energy", "images"} & {what.lower() for what in rows}


def test_a_name_cannot_end_the_script(weights, film, tmp_path):
    evil = tmp_path / "a<script>alert(1)<b>.mp4"
    evil.write_bytes(film.read_bytes())
    text = look([evil], encoder=weights, out=tmp_path / "look.html", size=32, device="cpu").read_text()
    assert "<title>What the encoder sees: a&lt;script&gt;" in text
    assert text.count("</script>") == 2


def test_films_have_three_pictures_side_by_side(weights, film, tmp_path):
    gif = tmp_path / "look.gif"
    mp4 = tmp_path / "look.mp4"
    look([film], encoder=weights, out=tmp_path / "look.html", size=64, gif=gif, mp4=mp4, device="cpu")
    with Image.open(gif) as image:
        assert image.n_frames > 5
        assert image.width > 3 * image.height
    assert mp4.stat().st_size > 1000


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda folder: folder / "none.mp4", "no such file"),
        (lambda folder: folder, "no videos in this folder"),
        (lambda folder: write_text(folder / "text.mp4"), "cannot decode"),
    ],
)
def test_what_is_no_video_is_one_sentence(make, sentence, weights, tmp_path, capsys):
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(SystemExit) as exit:
        main(["look", str(make(folder)), "--encoder", str(weights), "--out", str(tmp_path / "look.html")])
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert exit.value.code == 2
    assert sentence in told
    assert not (tmp_path / "look.html").exists()


def write_text(path):
    path.write_text("not a video")
    return path


def test_an_output_that_cannot_be_written_is_refused_first(weights, film, capsys):
    with pytest.raises(SystemExit):
        main(["look", str(film), "--encoder", str(weights), "--out", str(film / "look.html")])
    assert "is a file; name a folder" in capsys.readouterr().err


def test_the_folder_of_a_stage_or_of_its_run_stands_for_the_export(weights, film, tmp_path, capsys):
    stage = tmp_path / "run/pretrain"
    stage.mkdir(parents=True)
    (stage / "config.yaml").touch()
    (stage / "model.safetensors").write_bytes(weights.read_bytes())
    pages = [
        look([film], encoder=source, out=tmp_path / f"{number}.html", size=32, device="cpu")
        for number, source in enumerate((stage, stage.parent))
    ]
    assert data_of(pages[0])["videos"] == data_of(pages[1])["videos"]
    # Of two stages none is meant.
    (tmp_path / "run/probe").mkdir()
    for file in stage.iterdir():
        (tmp_path / "run/probe" / file.name).write_bytes(file.read_bytes())
    with pytest.raises(SystemExit, match="2"):
        main(["look", str(film), "--encoder", str(stage.parent), "--out", str(tmp_path / "a.html")])
    assert "give a file, such as" in capsys.readouterr().err


# In a browser


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian's package chromium)")
def test_the_page_works_in_a_browser(page, tmp_path):
    with Browser(tmp_path / "profile") as browser:
        browser.open(page, "#t=0.5&patch=1,1")
        words = "document.getElementById('similar-words').textContent"
        assert "row 2, column 2 at 0.4 s" in browser.value(words)
        picture = "document.querySelector('[data-kind=similar] canvas').toDataURL()"
        before = browser.value(picture)

        # A click on a patch changes the heat map and what is said of it.
        browser.click("[data-kind=colours] canvas", 0.9, 0.9)
        browser.wait(f"!{words}.includes('row 2, column 2')")
        assert browser.value(picture) != before
        assert "patch=" in browser.value("location.hash")

        # The slider moves the time, and with it all pictures.
        colours = "document.querySelector('[data-kind=colours] canvas').toDataURL()"
        before = browser.value(colours)
        browser.value("byId('slider').value = 2.1; byId('slider').dispatchEvent(new Event('input'))")
        assert browser.value("document.getElementById('time').textContent") == "2.1 s of 3.0 s"
        assert browser.value(colours) != before

        # The switch, the film, and playing.
        before = browser.value(colours)
        browser.click("[data-view=foreground]")
        assert browser.value(colours) != before
        browser.click("#play")
        browser.wait("state.playing && state.time !== 2.1")
        browser.click("#play")
        assert browser.messages == []
        assert [url for url in browser.requests if not url.startswith(("file:", "data:", "blob:"))] == []


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian's package chromium)")
def test_videos_of_different_length_share_a_clock_and_fit_a_phone(weights, film, tmp_path):
    short = tmp_path / "a_rather_long_name_of_a_short_film.mp4"
    write_mp4(short, np.stack(moving_square(1, 0, frames=16)), fps=10)
    out = look([short, film], encoder=weights, out=tmp_path / "two.html", size=32, device="cpu")
    with Browser(tmp_path / "profile") as browser:
        browser.call(
            "Emulation.setDeviceMetricsOverride", width=412, height=900, deviceScaleFactor=1, mobile=True
        )
        browser.open(out, "#video=0")
        browser.value("seek(longest)")
        text = "document.getElementById({!r}).textContent"
        assert browser.value(text.format("time")) == "3.0 s of 3.0 s"
        assert browser.value(text.format("strip-name")) == f"{short.name}, has ended"
        assert browser.value("videos[0].film.currentTime") == pytest.approx(1.6, abs=0.02)
        headings = "[...document.querySelectorAll('.whose')].map((element) => element.textContent)"
        assert browser.value(headings) == [short.name] * 2

        # Nothing is wider than the screen, nor cut off by what it stands in.
        wide = "r.width && (r.right > innerWidth + 1 || r.left < -1)"
        cut = "e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX !== 'visible'"
        check = f"(e) => {{ const r = e.getBoundingClientRect(); return ({wide}) || ({cut}); }}"
        assert browser.value(f"[...document.querySelectorAll('body *')].filter({check}).length") == 0
        assert browser.messages == []


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian's package chromium)")
@pytest.mark.parametrize("late", [0, 1])
def test_similar_moments_of_a_video_whose_pictures_come_late_are_shown(weights, film, tmp_path, late):
    twin = tmp_path / "twin.mp4"  # its moments are surely among the similar ones
    twin.write_bytes(film.read_bytes())
    out = look([film, twin], encoder=weights, out=tmp_path / "two.html", size=32, device="cpu")
    centre = "canvas.getContext('2d').getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data[3]"
    shown = f"[...document.querySelectorAll('#moments canvas')].map((canvas) => {centre} === 255)"
    with Browser(tmp_path / "profile") as browser:
        browser.open(out)
        browser.value(f"videos[{late}].sheetReady = false; shownMoment = ''; drawMoments()")
        assert not all(browser.value(shown))
        browser.value(f"videos[{late}].sheet.onload()")
        assert all(browser.value(shown))
        assert browser.messages == []


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian's package chromium)")
def test_a_clip_of_one_window_shows_no_similar_moments(weights, page, tmp_path):
    path = tmp_path / "short.mp4"
    write_mp4(path, np.stack(moving_square(1, 0, frames=8)), fps=10)
    short = look([path], encoder=weights, out=tmp_path / "short.html", size=32, device="cpu")
    with Browser(tmp_path / "profile") as browser:
        for shown, hidden in ((page, False), (short, True)):
            browser.open(shown)
            assert browser.value("document.getElementById('moments-card').hidden") is hidden


@pytest.mark.parametrize("options", [["--size", "100000"], ["--frames", "100000000"], ["--fps", "1e9"]])
def test_windows_without_bound_are_refused(weights, film, tmp_path, capsys, options):
    with pytest.raises(SystemExit, match="2"):
        main(["look", str(film), "--encoder", str(weights), "--out", str(tmp_path / "a.html"), *options])
    assert "tokens" in (told := capsys.readouterr().err) or "windows" in told


def test_a_film_shorter_than_the_seen_half_has_a_page(weights, tmp_path):
    path = tmp_path / "short.mp4"
    write_mp4(path, np.stack(moving_square(1, 0, frames=2)), fps=10)
    (video,) = data_of(look([path], encoder=weights, out=tmp_path / "a.html", size=32, device="cpu"))[
        "videos"
    ]
    assert video["errors"] == "" and video["predicted"] == []


def test_a_name_of_html_stays_text(weights, film, tmp_path):
    name = "<!--<script>alert(1)<.mp4"
    (tmp_path / name).write_bytes(film.read_bytes())
    page = look([tmp_path / name], encoder=weights, out=tmp_path / "a.html", size=32, device="cpu")
    assert data_of(page)["videos"][0]["name"] == name
    assert "<!--<script>" not in page.read_text()
