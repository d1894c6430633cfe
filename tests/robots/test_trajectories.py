"""Laws of robot data: images, states and actions of a window belong together, and mistakes are refused."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import lightning as L
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from einops import rearrange

from tests.videos import even_times, read_stamps, stamp, write_video
from vjepa.data.latents import LatentCache, encode_in_fixed_batches
from vjepa.errors import UserError
from vjepa.robots.episodes import Columns, TrajectoryError
from vjepa.robots.pose import pose_delta
from vjepa.robots.readers.lerobot import load_lerobot
from vjepa.robots.schema import END_EFFECTOR, vector_schema
from vjepa.robots.trajectory_data import RobotSource, TrajectoryData
from vjepa.robots.window_batches import collate_windows
from vjepa.robots.window_datasets import EvaluationTrajectories, TrainingTrajectories
from vjepa.robots.windows import TrajectoryConfig, Windows, window_rows

FPS = 15
LENGTHS = (40, 9, 33, 30)
WINDOW = TrajectoryConfig(frames=8, fps=4.0, size=64, aspect=(1.5, 1.5))
LEFT, WRIST = "observation.images.left", "observation.images.wrist"


def feature(kind: str, *shape: int) -> dict:
    return {"dtype": kind, "shape": list(shape), "names": None}


def rows_of(lengths: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Columns of all rows. The first number of a state is the row's number, which its image carries too."""
    total = sum(lengths)
    states = np.random.default_rng(0).uniform(-1, 1, (total, 7)).astype(np.float32)
    states[:, 0] = np.arange(total)
    frame = np.concatenate([np.arange(n) for n in lengths])
    return {
        "observation.state": states,
        "action": np.arange(2 * total, dtype=np.float32).reshape(total, 2),
        "camera_extrinsics.left": np.tile(np.float32([0, 0, 1, 0, 0, 0]), (total, 1)),
        "timestamp": (frame / FPS).astype(np.float32),
        "frame_index": frame,
        "episode_index": np.repeat(np.arange(len(lengths)), lengths),
    }


def column(values: np.ndarray) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def write_lerobot(folder: Path, rows: dict[str, np.ndarray] | None = None, info: dict | None = None) -> Path:
    """A dataset of four episodes at 15 rows a second, whose rows lie in two files in the wrong order.

    Two cameras see them; their MP4s hold two and three episodes.
    """
    rows = rows_of(LENGTHS) if rows is None else rows
    for number, episodes in enumerate(([2, 3], [0, 1])):
        keep = np.isin(rows["episode_index"], episodes)
        columns = {name: column(values[keep]) for name, values in rows.items()}
        write(folder / f"data/chunk-000/file-{number:03d}.parquet", columns)

    zeros = np.zeros(4, int)
    table = {"episode_index": np.arange(4), "length": np.array(LENGTHS), "tasks": pa.array([["x"]] * 4)}
    table |= {"data/chunk_index": zeros, "data/file_index": np.array([1, 1, 0, 0])}
    for camera, files in ((LEFT, np.array([0, 0, 1, 1])), (WRIST, np.array([0, 1, 1, 1]))):
        begins = film(folder / f"videos/{camera}/chunk-000", files)
        table |= {
            f"videos/{camera}/chunk_index": zeros,
            f"videos/{camera}/file_index": files,
            f"videos/{camera}/from_timestamp": begins,
            f"videos/{camera}/to_timestamp": begins + np.array(LENGTHS) / FPS,
        }
    write(folder / "meta/episodes/chunk-000/file-000.parquet", table)
    (folder / "meta/info.json").write_text(json.dumps(about(rows) | (info or {})))
    return folder


def film(folder: Path, files: np.ndarray) -> np.ndarray:
    """Write each episode into the video file of its number; when each begins there, seconds.

    Every frame carries the number of its row.
    """
    folder.mkdir(parents=True)
    ends = np.cumsum(LENGTHS)
    starts = ends - LENGTHS
    begins = np.zeros(4)
    for number in set(files.tolist()):
        episodes = np.flatnonzero(files == number)
        begins[episodes] = (starts[episodes] - starts[episodes[0]]) / FPS
        shown = np.concatenate([np.arange(starts[e], ends[e]) for e in episodes])
        frames = [stamp(int(row)) for row in shown]
        write_video(folder / f"file-{number:03d}.mp4", even_times(len(shown), FPS), pictures=frames)
    return begins


def about(rows: dict[str, np.ndarray]) -> dict:
    """The content of `meta/info.json`."""
    features = {LEFT: feature("video", 64, 96, 3), WRIST: feature("video", 64, 96, 3)}
    features |= {name: feature("float32", *(values.shape[1:] or (1,))) for name, values in rows.items()}
    features["observation.images.png"] = feature("image", 64, 96, 3)
    return {
        "codebase_version": "v3.0",
        "fps": FPS,
        "features": features,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    }


def write(file: Path, columns: dict) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pa.parquet.write_table(pa.table(columns), file)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_lerobot(tmp_path_factory.mktemp("robot"))


def training(
    folder: Path, config: TrajectoryConfig = WINDOW, seed: int = 0, **settings
) -> TrainingTrajectories:
    return TrainingTrajectories([load_lerobot(folder, **settings)], [1.0], config, seed)


def numbers(clip: torch.Tensor) -> list[int]:
    return read_stamps(rearrange(clip, "t c h w -> t h w c").numpy())


# -- windows -------------------------------------------------------------------------------------------------


def test_pictures_and_states_are_of_the_same_rows(folder):
    """For both cameras, whatever file an episode is in and wherever it begins there."""
    windows = training(folder)
    seen = Counter()
    for k in range(60):
        window = windows[k]
        assert numbers(window.clip) == window.states[:, 0].round().int().tolist(), k
        assert window.bad == [] and window.index == k
        seen[window.camera, window.episode] += 1
    assert len(seen) == 6
    assert not any(episode == 1 for _, episode in seen)  # nine rows are too short for a window


def test_actions_lead_from_state_to_state(folder):
    for k in range(10):
        window = training(folder)[k]
        torch.testing.assert_close(window.actions, pose_delta(window.states[:-1], window.states[1:]))
        assert window.actions.shape == (7, 7) and window.extrinsics.shape == (8, 0)


def test_a_window_is_physical_time(folder):
    """Four a second out of fifteen: 3 or 4 rows apart, each row at most half a row from its moment."""
    for k in range(20):
        window = training(folder)[k]
        times = window.times - window.times[0]
        assert (times - torch.arange(8) / 4).abs().max() <= 0.5 / FPS + 1e-4
        assert set(window.rows.diff().tolist()) <= {3, 4}
    own = training(folder, replace(WINDOW, fps=15.0))[0]
    assert own.rows.diff().tolist() == [1] * 7


def test_every_start_is_drawn_and_the_last_row_is_reached(folder):
    data = load_lerobot(folder)
    windows = Windows(data, WINDOW)
    assert [windows.starts(e) for e in (0, 2, 3)] == [13, 6, 3]  # a window spans 26.25 rows
    last = window_rows(data.times[data.rows(2)], 5, WINDOW, data.fps)
    assert last[0] == 5 and last[-1] == 31
    blind = training(folder, replace(WINDOW, pixels=False))
    drawn = {(window.episode, int(window.rows[0])) for window in map(blind.__getitem__, range(200))}
    assert drawn == {(e, start) for e in (0, 2, 3) for start in range(windows.starts(e))}


def test_a_sample_is_a_pure_function_of_seed_and_number(folder):
    windows = training(folder)
    window = windows[40]
    again = training(folder)[40]
    assert torch.equal(window.clip, again.clip)
    assert torch.equal(window.states, again.states)
    assert window.camera == again.camera
    others = training(folder, seed=1)
    assert any(not torch.equal(windows[k].rows, others[k].rows) for k in range(4))


def test_a_named_camera_is_the_only_one(folder):
    windows = training(folder, replace(WINDOW, cameras=(WRIST,)))
    assert {windows[k].camera for k in range(12)} == {WRIST}
    assert load_lerobot(folder, cameras=[LEFT]).cameras == (LEFT,)
    with pytest.raises(TrajectoryError, match="were not loaded"):
        training(folder, replace(WINDOW, cameras=(WRIST,)), cameras=[LEFT])


def test_recorded_actions_and_extrinsics_can_be_read(folder):
    schema = replace(END_EFFECTOR, delta="recorded", actions=("a", "b"), bounds=((-1.0, 1.0),) * 2)
    settings = {
        "schema": schema,
        "columns": Columns(extrinsics="camera_extrinsics.{camera}"),
        "cameras": [LEFT],
    }
    window = training(folder, replace(WINDOW, fps=15.0), **settings)[3]
    torch.testing.assert_close(window.actions[:, 0], 2 * window.states[:-1, 0])
    assert window.extrinsics.tolist() == [[0, 0, 1, 0, 0, 0]] * 8
    with pytest.raises(TrajectoryError, match="its own actions lead from row to row, 15 a second"):
        training(folder, **settings)


def test_without_pixels_everything_else_is_the_same(folder):
    with_pixels = training(folder)
    without = training(folder, replace(WINDOW, pixels=False))
    for k in range(5):
        assert torch.equal(with_pixels[k].states, without[k].states)
        assert torch.equal(with_pixels[k].rows, without[k].rows)
        assert without[k].clip.numel() == 0
    assert collate_windows([without[0], without[1]]).lost == 0


def test_evaluation_windows_are_fixed_and_spread(folder):
    windows = EvaluationTrajectories(load_lerobot(folder), replace(WINDOW, windows=2))
    assert [(w.episode, int(w.rows[0])) for w in windows] == [(0, 3), (0, 9), (2, 1), (2, 4), (3, 0), (3, 2)]
    assert torch.equal(windows[1].clip, windows[1].clip)
    assert {window.camera for window in windows} == {LEFT}
    middle = EvaluationTrajectories(load_lerobot(folder), WINDOW)
    assert [int(w.rows[0]) for w in middle] == [6, 3, 1]


def test_the_crop_is_the_same_for_all_frames_and_random_only_if_asked(folder):
    config = replace(WINDOW, scale=(0.3, 0.5), aspect=(0.75, 1.35))
    assert WINDOW.fixed_crop and not config.fixed_crop
    window = training(folder, config)[0]
    again = training(folder, config)[0]
    assert torch.equal(window.clip, again.clip)
    assert not torch.equal(window.clip, training(folder)[0].clip)


def test_cached_latents_of_a_window_are_those_of_encoding_its_episode(folder, tmp_path):
    """Windows without images and tokens from disk give the bits of encoding the whole episode."""
    weight = torch.randn(3 * 64 * 64 // 16, 16, generator=torch.Generator().manual_seed(0))

    def encode(frames: torch.Tensor) -> torch.Tensor:
        return rearrange(frames.float() / 255, "t c (H h) (W w) -> t (H W) (c h w)", H=4, W=4) @ weight

    windows = training(folder, replace(WINDOW, pixels=False))
    reader = windows.windows[0]
    cache = LatentCache(tmp_path, "key", limit_bytes=10**8)
    for k in range(12):
        window = windows[k]
        whole = np.arange(reader.data.length[window.episode])

        def make(window=window, whole=whole) -> torch.Tensor:
            return encode_in_fixed_batches(
                reader.frames(window.episode, window.camera, whole), encode, batch=4
            )

        tokens = cache.load(f"{window.episode:06d}.{window.camera}", make, window.rows.tolist())
        assert torch.equal(tokens, make()[window.rows])
    assert cache.hits > 0 and cache.misses <= 6


# -- broken and short episodes -------------------------------------------------------------------------------


def test_short_episodes_are_left_out_and_named(folder):
    windows = Windows(load_lerobot(folder), WINDOW)
    assert windows.episodes.tolist() == [0, 2, 3] and len(windows.short) == 1
    assert "episode 1: too short: 0.533 s" in windows.short[0] and "spans 1.750 s" in windows.short[0]
    with pytest.raises(TrajectoryError, match=r"none of its episodes can be used, the first: .*too short"):
        Windows(load_lerobot(folder), replace(WINDOW, frames=100))


def test_an_episode_that_cannot_be_decoded_is_replaced_a_bounded_number_of_times_and_named(tmp_path):
    folder = write_lerobot(tmp_path)
    windows = training(folder, cameras=[LEFT])
    evaluation = EvaluationTrajectories(load_lerobot(folder, cameras=[LEFT]), WINDOW)
    (folder / f"videos/{LEFT}/chunk-000/file-000.mp4").write_bytes(b"not a video")
    samples = [windows[k] for k in range(12)]
    assert all(sample.clip is not None and sample.episode in (2, 3) for sample in samples)
    named = [reason for sample in samples for reason in sample.bad]
    assert len(named) >= 3 and all("file-000.mp4" in reason and "episode 0" in reason for reason in named)
    batch = collate_windows([evaluation[i] for i in range(len(evaluation))])
    assert batch.lost == 1 and batch.episode.tolist() == [2, 3] and "episode 0" in batch.bad[0]
    (folder / f"videos/{LEFT}/chunk-000/file-001.mp4").write_bytes(b"not a video")
    lost = windows[0]
    assert lost.clip is None and len(lost.bad) == 8 and collate_windows([lost]).lost == 1


def test_pictures_of_the_next_episode_are_never_shown(tmp_path):
    """A camera that stopped early: the MP4 goes on with the next episode."""
    folder = write_lerobot(tmp_path)
    file = folder / "meta/episodes/chunk-000/file-000.parquet"
    table = pa.parquet.read_table(file).to_pydict()
    table[f"videos/{LEFT}/to_timestamp"][0] -= 10 / FPS
    write(file, table)
    data = load_lerobot(folder)
    assert data.numbers.tolist() == [1, 2, 3]
    assert "episode 0: there are 2.000 s of" in data.left_out.bad[0]
    assert "another episode's images" in data.left_out.bad[0]


# -- refusals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "info, words",
    [
        ({"codebase_version": "v2.1"}, "codebase_version v2.1 .* only v3.0 is read: convert it"),
        (
            {"data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"},
            "only v3.0 is read",
        ),
        ({"features": {LEFT: feature("video", 64, 96, 3)}}, "no column 'observation.state'"),
        ({"features": {"observation.state": feature("float32", 7)}}, "no feature of dtype video"),
        ({"features": {LEFT: {"dtype": "video"}}}, "should have a dtype and a shape"),
        ({"features": None}, "should have a dtype and a shape"),
        ({"fps": "fast"}, "fps is 'fast', expected the number of rows"),
        ({"fps": 0}, "fps is 0, expected the number of rows"),
        ({"video_path": None}, "video_path is None; images inside Parquet"),
    ],
)
def test_folders_that_promise_something_else_are_refused(tmp_path, info, words):
    with pytest.raises(TrajectoryError, match=words):
        load_lerobot(write_lerobot(tmp_path, info=info))


def test_absent_cameras_columns_and_rates_are_refused(folder, tmp_path):
    with pytest.raises(TrajectoryError, match=r"'observation.images.front' cannot be used, it is not there"):
        load_lerobot(folder, cameras=["observation.images.front"])
    with pytest.raises(TrajectoryError, match="its dtype is image"):
        load_lerobot(folder, cameras=["observation.images.png"])
    with pytest.raises(TrajectoryError, match="holds 7 numbers, but the schema's state has 2"):
        load_lerobot(folder, vector_schema(("a", "b"), "m", 1.0))
    with pytest.raises(TrajectoryError, match=r"info\.json: no such file; expected the folder"):
        load_lerobot(tmp_path)
    with pytest.raises(TrajectoryError, match=r"data.window.fps=30, but it was recorded at 15 rows a second"):
        Windows(load_lerobot(folder), replace(WINDOW, fps=30.0))
    with pytest.raises(UserError, match="frames=1 must be 2 or more"):
        TrajectoryConfig(frames=1)


def test_the_fingerprint_changes_with_the_data(folder, tmp_path):
    # Copied, because a busy machine does not encode a video to the same bytes twice.
    same = shutil.copytree(folder, tmp_path / "same")
    assert load_lerobot(folder).fingerprint == load_lerobot(same).fingerprint
    file = same / "data/chunk-000/file-001.parquet"
    columns = pa.parquet.read_table(file).to_pydict()
    columns["observation.state"][3][3] += 0.01
    write(file, columns)
    assert load_lerobot(folder).fingerprint != load_lerobot(same).fingerprint


# -- the data module -----------------------------------------------------------------------------------------


class Watch(L.LightningModule):
    """Remembers which windows it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[int] = []
        self.validated: list[int] = []

    def training_step(self, batch, number):
        assert batch.clip.dtype == torch.uint8 and batch.clip.shape[1:] == (8, 3, 64, 64)
        self.seen += batch.index.tolist()
        return self.weight.sum()

    def validation_step(self, batch, number):
        self.validated += batch.episode.tolist()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder: Path, out: Path, steps: int, ckpt_path: str | None = None) -> tuple[Watch, L.Trainer]:
    data = TrajectoryData(
        [RobotSource(str(folder))], RobotSource(str(folder)), window=WINDOW, batch_size=1, workers=0
    )
    quiet = dict.fromkeys(
        ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False
    )
    trainer = L.Trainer(
        max_steps=steps, accelerator="cpu", default_root_dir=out, num_sanity_val_steps=0, **quiet
    )
    watch = Watch()
    trainer.fit(watch, data, ckpt_path=ckpt_path)
    return watch, trainer


@pytest.mark.filterwarnings("ignore")
def test_training_resumes_with_the_next_window_and_validates_every_episode(folder, tmp_path):
    whole, _ = fit(folder, tmp_path, 5)
    first, trainer = fit(folder, tmp_path, 3)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    rest, _ = fit(folder, tmp_path, 5, str(tmp_path / "last.ckpt"))
    assert whole.seen == first.seen + rest.seen == [0, 1, 2, 3, 4]
    assert whole.validated[:3] == [0, 2, 3]


def test_left_out_episodes_and_odd_actions_are_said_before_training(tmp_path, capsys):
    folder = write_lerobot(tmp_path)  # of its own: a sentence is said once
    window = replace(WINDOW, evaluation_frames=9)
    data = TrajectoryData([RobotSource(str(folder))], test=RobotSource(str(folder)), window=window)
    with pytest.warns(UserWarning, match="100% of the actions lie beyond schema.bounds"):
        data.setup("fit")
    assert capsys.readouterr().err.count("of 4 episodes are too short for a window, the first") == 2
