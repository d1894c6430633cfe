"""The stage that reads the arm's state: labels, learning, its export, and refusals."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("mujoco")

import lightning as L

from stages.state import ReadState
from vjepa.errors import UserError
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.state_reader import StateReaderConfig
from vjepa.planning.load import load_reader
from vjepa.robots.cached_windows import LatentsConfig
from vjepa.robots.episodes import Columns
from vjepa.robots.hand_view import HandView
from vjepa.robots.hand_windows import HandWindows
from vjepa.robots.schema import StateSchema
from vjepa.robots.trajectory_data import RobotSource, TrajectoryData
from vjepa.robots.windows import TrajectoryConfig
from vjepa.sim.recording.robot_episodes import RobotConfig, record_robot
from vjepa.training.optim import OptimConfig, Schedule
from vjepa.training.state_reading import last_changes
from vjepa.weights.export import encoder_part, export
from vjepa.weights.files import CheckpointError
from vjepa.weights.load import load_encoder, load_state_reader

TINY = EncoderConfig(width=24, depth=1, heads=2, mlp_width=48, patch=8, init_std=0.2)
POSES = Columns(extrinsics="camera_extrinsics.{camera}")
SCHEMA = StateSchema(centres=(math.pi, 0.0, 0.0))
WINDOW = TrajectoryConfig(
    frames=2, fps=4.0, size=32, pixels=False, windows=6, hand=HandView(side=0.25, size=16)
)


@pytest.fixture(scope="module")
def robot(tmp_path_factory) -> Path:
    return record_robot(
        RobotConfig(
            out=tmp_path_factory.mktemp("robot"),
            episodes=8,
            steps=12,
            size=64,
            per_file=4,
            val=0.25,
            test=0.25,
            workers=1,
        )
    )


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("encoder") / "model.safetensors"
    export(file, {"ema": encoder_part(Encoder(TINY))}, {})
    return file


def data(robot: Path, window: TrajectoryConfig = WINDOW, columns: Columns = POSES) -> TrajectoryData:
    # So few episodes say nothing of others: what was learned is asked again.
    source = RobotSource(str(robot / "train"), columns=columns)
    return TrajectoryData([source], source, schema=SCHEMA, window=window, batch_size=8, workers=0)


def fitted(encoder: Path, data: TrajectoryData, out: Path, steps: int) -> ReadState:
    stage = ReadState(
        str(encoder),
        StateReaderConfig(width=32, points=4),
        optim=OptimConfig(lr=Schedule(3e-3)),
        latents=LatentsConfig(folder=str(out / "latents")),
    )
    trainer = L.Trainer(
        max_steps=steps,
        accelerator="cpu",
        default_root_dir=out,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        val_check_interval=steps,
        check_val_every_n_epoch=None,
    )
    trainer.fit(stage, datamodule=data)
    return stage


@pytest.mark.parametrize(
    ("closed", "labels"),
    [
        ([0.0, 0.0, 0.3, 0.36, 0.37, 0.37, 0.1, 0.1], [0, 0, 1, 1, 1, 1, 0, 0]),  # an object is held at 0.37
        ([0.9, 0.9, 0.88, 0.2, 0.0], [1, 1, 1, 0, 0]),
        ([0.3, 0.31, 0.3], [0, 0, 0]),  # trembling is no change
        ([0.7], [1]),
    ],
)
def test_a_gripper_closes_from_its_last_change_on(closed, labels):
    assert last_changes(torch.tensor(closed)).tolist() == labels


def test_a_few_episodes_are_overfitted(robot, encoder, tmp_path):
    stage = fitted(encoder, data(robot), tmp_path, steps=200)
    metrics = {name: float(value) for name, value in stage.trainer.callback_metrics.items()}
    assert metrics["val/centimetres"] < 0.4 * metrics["val/always_centimetres"]
    assert metrics["val/gripper_wrong"] < 0.1


def test_the_export_reads_as_the_stage_does(robot, encoder, tmp_path):
    stage = fitted(encoder, data(robot), tmp_path, steps=2)
    file = tmp_path / "model.safetensors"
    export(file, stage.parts(), {})
    reader = load_reader(file, load_encoder(encoder))
    tokens = torch.randn(3, 16, 24)
    torch.testing.assert_close(reader.network.hand(tokens), stage.reading.reader.eval().hand(tokens))
    assert (reader.size, reader.view) == (32, WINDOW.hand)
    assert load_state_reader(file).config == StateReaderConfig(width=32, points=4)


def test_a_reader_of_another_encoder_is_refused(robot, encoder, tmp_path):
    stage = fitted(encoder, data(robot), tmp_path, steps=1)
    export(tmp_path / "model.safetensors", stage.parts(), {})
    with pytest.raises(CheckpointError, match="another encoder"):
        load_reader(tmp_path / "model.safetensors", Encoder(TINY))


def test_squares_do_not_depend_on_what_is_read_with_them(robot):
    windows = HandWindows(data(robot).train_data[0], WINDOW)
    rows = torch.arange(9).numpy()
    together = windows.frames(1, windows.cameras[0], rows)
    alone = torch.cat([windows.frames(1, windows.cameras[0], rows[[k]]) for k in range(9)])
    assert together.shape == (9, 3, 16, 16) and torch.equal(together, alone)


@pytest.mark.parametrize(
    ("window", "columns", "named"),
    [
        (replace(WINDOW, hand=None), POSES, r"data\.window\.hand"),
        (replace(WINDOW, pixels=True), POSES, r"pixels: false"),
        (WINDOW, Columns(), r"columns\.extrinsics"),
    ],
)
def test_what_a_reader_cannot_do_without_is_named(robot, encoder, tmp_path, window, columns, named):
    with pytest.raises(UserError, match=named):
        fitted(encoder, data(robot, window, columns), tmp_path, steps=1)
