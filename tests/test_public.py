"""`import vjepa`: any weights as one object, which says in one sentence what it cannot do."""

import ast
import subprocess
import sys
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vjepa
from tests.videos import even_times, write_video
from vjepa.models.ac_predictor import ACPredictor, ACPredictorConfig
from vjepa.models.encoder import EncoderConfig
from vjepa.models.probe import AttentiveProbe, ProbeConfig
from vjepa.planning.cem import CEMConfig
from vjepa.robots.schema import END_EFFECTOR
from vjepa.weights.export import Part, ac_predictor_part, encoder_part, export, probe_part
from vjepa.weights.facts import ActingFacts
from vjepa.weights.files import CheckpointError, weights_digest

SMALL = EncoderConfig(width=48, depth=1, heads=4, mlp_width=96, patch=8)
NAMES = ["away", "toward", "still"]
CLIP = {"frames": 4, "fps": 8.0, "size": 24}
SEARCH = CEMConfig(samples=8, iterations=2, top=2)
STATE = [0.4, 0.1, 0.2, 3.0, 0.1, -0.2, 0.5]
PICTURE = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run's folder: an encoder, a probe and a predictor of actions on it, each the export of its stage."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    encoder = vjepa.Encoder(SMALL)
    digest = weights_digest(encoder)
    reads = {
        "encoder": str(folder / "cooldown/model.safetensors"),
        "encoder_digest": digest,
        "weights": "ema",
    }
    means = {"layers": [], "targets": "classes", "names": NAMES, "clip": CLIP | {"short": "hold"}}
    probe = probe_part(AttentiveProbe(ProbeConfig(1, 4), 48, 3))
    ac = ACPredictor(ACPredictorConfig(width=48, depth=1, heads=4, mlp_width=96), SMALL)
    acting = ActingFacts(asdict(END_EFFECTOR), 24, 4.0, (1,), reads["encoder"], digest)
    parts = {
        "pretrain": {"ema": encoder_part(vjepa.Encoder(SMALL))},
        "cooldown": {"ema": encoder_part(encoder)},
        "ac": {"ac_predictor": ac_predictor_part(ac, SMALL, acting)},
        "ac-untrained": {"ac_predictor": ac_predictor_part(ac, SMALL, replace(acting, encoder_digest="x"))},
        "probe": {"probe": Part(probe.module, probe.description | {"schema": reads | means})},
    }
    for stage, held in parts.items():
        export(folder / stage / "model.safetensors", held, {"stage": stage, "clip": CLIP})
    return folder


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("video") / "a.mp4"
    write_video(path, even_times(30), size=(40, 32))
    return path


def test_a_runs_folder_does_all_that_its_stages_can(run, video):
    model = vjepa.load(run)
    assert model.features(video).shape == (48,)
    assert model.features(video, pool="frame", frames=6).shape == (3, 48)
    answer = model.predict(video)
    assert set(answer) == set(NAMES) and sum(answer.values()) == pytest.approx(1)
    assert list(answer.values()) == sorted(answer.values(), reverse=True)
    plan = model.plan(PICTURE, Image.fromarray(PICTURE[::-1].copy()), STATE, SEARCH)
    assert plan.actions.shape == (1, 7) and len(plan.statistics.least) == 2
    assert torch.equal(plan.actions, model.plan(PICTURE, PICTURE[::-1].copy(), STATE, SEARCH).actions)
    shown = repr(model)
    for text in ("cooldown", "4 frames at 8 fps, 24 px", "encode, features, predict, plan"):
        assert text in shown


def test_an_export_finds_the_encoder_that_it_was_trained_on(run, video):
    alone = vjepa.load(run / "probe/model.safetensors")
    assert alone.predict(video) == vjepa.load(run).predict(video)
    assert vjepa.load(run / "probe").predict(video) == alone.predict(video)


def test_another_encoder_is_refused(run, video):
    other = vjepa.load(run / "probe/model.safetensors", encoder=run / "pretrain/model.safetensors")
    with pytest.raises(CheckpointError, match="trained on the tokens of another encoder"):
        other.predict(video)


def test_a_verb_without_weights_names_the_stage_that_makes_them(run, video):
    encoder = vjepa.load(run / "cooldown/model.safetensors")
    verbs = {
        "probe": lambda: encoder.predict(video),
        "ac": lambda: encoder.plan(PICTURE, PICTURE, STATE),
        "vlm": lambda: encoder.ask(video, "Which way?"),
    }
    for stage, verb in verbs.items():
        with pytest.raises(CheckpointError, match=rf"holds no .*`vjepa fit {stage}`") as caught:
            verb()
        assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="does not exist"):
        vjepa.load(run / "nothing.safetensors")


def test_frames_of_any_size_are_encoded_at_the_trained_one(run):
    model = vjepa.load(run)
    small = torch.randint(
        0, 256, (4, 3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    assert model.encode(small).shape == (18, 48)
    assert model.encode(small[None]).shape == (1, 18, 48)
    large = small.repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert model.encode(large).shape == (18, 48)
    assert model.encode(PICTURE).shape == (9, 48)
    torch.testing.assert_close(model.encode(small), model.encode(small.permute(0, 2, 3, 1).numpy()))


def test_wrong_shapes_are_one_sentence(run):
    model = vjepa.load(run)
    wrong = {
        "got float32": lambda: model.encode(np.zeros((4, 24, 24, 3), np.float32)),
        "got str": lambda: model.encode("video.mp4"),
        r"image is 2 images": lambda: model.plan(np.stack([PICTURE] * 2), PICTURE, STATE),
        r"got float64 \(24, 24, 3\)": lambda: model.plan(PICTURE / 255, PICTURE, STATE),
        r"state has the shape \(3,\); give the 7 numbers x, y": lambda: model.plan(
            PICTURE, PICTURE, [0, 0, 0]
        ),
    }
    for why, call in wrong.items():
        with pytest.raises(vjepa.UserError, match=why) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_the_version_is_that_of_the_package():
    assert vjepa.__version__ == version("vjepa")
    assert "__version__" in dir(vjepa) and "load" in dir(vjepa)


def test_type_checkers_see_the_names_that_python_loads():
    (block,) = [node for node in ast.parse(Path(vjepa.__file__).read_text()).body if isinstance(node, ast.If)]
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert seen == {name: f"vjepa.{module}" for name, module in vjepa.PUBLIC.items()}


def test_loading_weights_imports_neither_the_trainer_nor_a_language_model():
    heavy = ("lightning", "transformers", "mujoco")
    code = f"import vjepa, sys; vjepa.load; print([name for name in {heavy} if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_the_encoder_itself_says_what_it_takes(run):
    """In a process of its own, because the hook of the tests refuses other shapes before the encoder does."""
    code = (
        "import sys, torch, vjepa\n"
        "encoder = vjepa.load_encoder(sys.argv[1])\n"
        "for clip in (torch.zeros(4, 24, 24, 3, dtype=torch.uint8), torch.zeros(1, 4, 3, 24, 24)):\n"
        "    try: encoder(clip)\n"
        "    except vjepa.UserError as error: print(error)\n"
    )
    source = str(run / "cooldown/model.safetensors")
    told = subprocess.run([sys.executable, "-c", code, source], capture_output=True, text=True, check=True)
    first, second = told.stdout.splitlines()
    assert "`b c t h w`" in first and "torch.uint8 (4, 24, 24, 3)" in first and "`t h w c`" in first
    assert "(1, 4, 3, 24, 24)" in second
