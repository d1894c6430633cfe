"""Laws of damaged recordings: an episode that contradicts itself is left out and named, the others stay."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

from tests.robots.test_trajectories import (
    FPS,
    LEFT,
    LENGTHS,
    WINDOW,
    WRIST,
    feature,
    fit,
    numbers,
    rows_of,
    training,
    write,
    write_lerobot,
)
from vjepa.data.decode_error import DecodeError
from vjepa.robots.episodes import Columns, TrajectoryError
from vjepa.robots.readers import lerobot_videos
from vjepa.robots.readers.lerobot import LeRobot, load_lerobot
from vjepa.robots.readers.lerobot_videos import overlapping
from vjepa.robots.trajectory_data import RobotSource, TrajectoryData

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123456\n"
DATA = "data/chunk-000/file-001.parquet"
"""The rows of episodes 0 and 1; those of 2 and 3 are in file-000."""
EPISODES = "meta/episodes/chunk-000/file-000.parquet"


def spoiled(folder: Path, file: str, change: Callable[[dict], None]) -> Path:
    """The folder, with some columns of a table changed: `change` is given lists by name."""
    table = pa.parquet.read_table(folder / file).to_pydict()
    change(table)
    write(folder / file, table)
    return folder


def said(data: LeRobot) -> str:
    """All sentences about what is left out."""
    return "\n".join(data.left_out.notes + data.left_out.episodes)


def with_info(folder: Path, **fields) -> Path:
    file = folder / "meta/info.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))
    return folder


# -- numbers of any type -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        pa.float64(),
        pa.float32(),
        pa.int8(),
        pa.uint32(),
        pa.decimal128(21, 2),
        pa.dictionary(pa.int8(), pa.int64()),
    ],
    ids=str,
)
def test_whole_numbers_of_any_type_are_the_same_data(tmp_path, kind):
    """In the table of episodes and in the rows: pandas makes them floats, other tools small integers."""
    before = load_lerobot(write_lerobot(tmp_path / "before"))
    folder = write_lerobot(tmp_path / "after")
    for file in (EPISODES, DATA):  # one of the two files of rows: types may differ from file to file
        table = pa.parquet.read_table(folder / file)
        for place, name in enumerate(table.column_names):
            if pa.types.is_integer(table[name].type):
                column = pa.array(table[name].to_pylist(), pa.int64())
                value = kind.value_type if pa.types.is_dictionary(kind) else kind
                column = column.cast(value) if value == kind else column.dictionary_encode()
                table = table.set_column(place, name, column)
        pa.parquet.write_table(table, folder / file)
    after = load_lerobot(folder)
    assert torch.equal(before.states, after.states) and after.left_out.episodes == []
    assert after.numbers.dtype == after.length.dtype == np.int64
    assert numbers(training(folder)[0].clip) == numbers(training(tmp_path / "before")[0].clip)


def test_lists_of_any_size_hold_the_same_states_and_a_short_one_is_its_episodes(tmp_path):
    folder = write_lerobot(tmp_path)
    before = load_lerobot(folder)
    spoiled(folder, DATA, lambda table: None)  # lists of a fixed size become lists of any size
    assert torch.equal(before.states, load_lerobot(folder).states)
    spoiled(folder, DATA, lambda table: table["observation.state"].__setitem__(45, [1.0] * 6))
    spoiled(folder, DATA, lambda table: table["observation.state"].__setitem__(3, None))
    data = load_lerobot(folder)
    assert data.numbers.tolist() == [2, 3]
    assert "episode 0, frame 3: the state is missing" in said(data)
    assert "episode 1, frame 5: the state is missing" in said(data)


@pytest.mark.parametrize("fps, shape", [("15", [7.0]), (15.0, ["7"]), ("15.0", [1, 7])])
def test_numbers_of_info_may_be_written_in_other_ways(tmp_path, fps, shape):
    folder = write_lerobot(tmp_path)
    features = json.loads((folder / "meta/info.json").read_text())["features"]
    features["observation.state"]["shape"] = shape
    data = load_lerobot(with_info(folder, fps=fps, features=features))
    assert data.fps == 15 and data.states.shape == (sum(LENGTHS), 7)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "cp1252"])
def test_info_may_be_saved_by_an_editor_of_windows(tmp_path, encoding):
    folder = write_lerobot(tmp_path)
    info = json.loads((folder / "meta/info.json").read_text()) | {"robot_type": "caf\u00e9"}
    (folder / "meta/info.json").write_bytes(json.dumps(info, ensure_ascii=False).encode(encoding))
    assert len(load_lerobot(folder)) == 4
    (folder / "meta/info.json").write_bytes(b"{\x00\x01")
    with pytest.raises(TrajectoryError, match=r"info\.json, line 1: a binary file"):
        load_lerobot(folder)


def test_an_unsorted_table_with_other_columns_in_several_files_is_read(tmp_path):
    """As written by several machines, with statistics of different types beside what is needed."""
    folder = write_lerobot(tmp_path)
    before = load_lerobot(folder)
    table = pa.parquet.read_table(folder / EPISODES).take([2, 0, 3, 1])
    first = table.slice(0, 1).append_column("stats/a", pa.array([["x"]]))
    rest = table.slice(1).set_column(0, "episode_index", table["episode_index"].slice(1).cast(pa.float32()))
    pa.parquet.write_table(first, folder / EPISODES)
    pa.parquet.write_table(rest, folder / EPISODES.replace("file-000", "file-001"))
    data = load_lerobot(folder)
    assert data.numbers.tolist() == [0, 1, 2, 3] and torch.equal(data.states, before.states)


# -- one bad episode -----------------------------------------------------------------------------------------


def set_value(column: str, row: int, value: object) -> Callable[[dict], None]:
    def change(table: dict) -> None:
        table[column] = list(table[column])
        table[column][row] = value

    return change


def repeat_episode(table: dict) -> None:
    for values in table.values():
        values.append(values[1])


@pytest.mark.parametrize(
    "change, words",
    [
        (set_value("data/file_index", 1, None), "data/file_index is nan in meta/episodes, expected a whole"),
        (set_value("data/chunk_index", 1, float("nan")), "data/chunk_index is nan"),
        (set_value("data/chunk_index", 1, -1), "data/chunk_index is -1 "),
        (set_value("data/file_index", 1, 0.5), "data/file_index is 0.5 "),
        (set_value(f"videos/{LEFT}/file_index", 1, float("inf")), f"videos/{LEFT}/file_index is inf"),
        (set_value(f"videos/{WRIST}/chunk_index", 1, None), f"videos/{WRIST}/chunk_index is nan"),
        (set_value("length", 1, 0), "length is 0 "),
        (set_value("length", 1, None), "length is nan "),
        (set_value("length", 1, 12), r"there are 0\.600 s of .* for 12 rows at 15 a second"),
        (set_value("length", 1, 8), "9 rows, but meta/episodes says 8"),
        (set_value(f"videos/{LEFT}/to_timestamp", 1, None), "expected two times"),
        (set_value(f"videos/{LEFT}/from_timestamp", 1, -1.0), "expected two times"),
        (
            set_value(f"videos/{LEFT}/to_timestamp", 1, 3.0),
            r"there are 0\.333 s of .* for 9 rows at 15 a second",
        ),
        (repeat_episode, "several rows in meta/episodes"),
    ],
)
def test_an_episode_whose_row_contradicts_itself_is_left_out_and_named(tmp_path, change, words):
    folder = spoiled(write_lerobot(tmp_path), EPISODES, change)
    data = load_lerobot(folder)
    assert data.numbers.tolist() == [0, 2, 3] and data.length.tolist() == [40, 33, 30]
    assert len(data.left_out.bad) == 1 and not data.left_out.missing
    assert re.search(f"episode 1: .*{words}", data.left_out.bad[0])
    window = training(folder)[0]
    assert numbers(window.clip) == window.states[:, 0].round().int().tolist()


def test_a_row_of_the_table_without_a_number_is_left_out(tmp_path):
    folder = spoiled(write_lerobot(tmp_path), EPISODES, set_value("episode_index", 1, None))
    data = load_lerobot(folder)
    assert data.numbers.tolist() == [0, 2, 3]
    assert "episode nan: episode_index is nan in meta/episodes" in said(data)
    assert "episode 1: not in meta/episodes" in said(data)  # its rows are there


def test_rows_of_no_episode_are_counted(tmp_path):
    folder = write_lerobot(tmp_path)
    spoiled(folder, DATA, set_value("episode_index", 45, None))
    data = load_lerobot(folder)
    assert data.numbers.tolist() == [0, 2, 3]
    assert "1 rows are left out: their episode_index is no whole number" in said(data)
    assert "episode 1: 8 rows, but meta/episodes says 9" in said(data)


def degrees(rows: dict) -> None:
    rows["observation.state"][50, 5] = 90.0


def unknown_state(rows: dict) -> None:
    rows["observation.state"][50, 2] = np.nan


def unknown_camera(rows: dict) -> None:
    rows["camera_extrinsics.left"][50, 2] = np.inf


def repeated_time(rows: dict) -> None:
    rows["timestamp"][50] = rows["timestamp"][49]


def skipped_time(rows: dict) -> None:
    rows["timestamp"][60:82] += np.float32(1 / FPS)


def drifting_time(rows: dict) -> None:
    rows["timestamp"][49:82] *= np.float32(1.05)


def late_clock(rows: dict) -> None:
    rows["timestamp"][49:82] += 2


def clock_of_the_day(rows: dict) -> None:
    rows["timestamp"][49:82] += 1e5


def unknown_time(rows: dict) -> None:
    rows["timestamp"][49] = np.nan


def other_episode(rows: dict) -> None:
    rows["episode_index"][81] = 3


def repeated_frame(rows: dict) -> None:
    rows["frame_index"][50] = 0


def hole(rows: dict) -> None:
    rows["frame_index"][52:82] += 1


def from_one(rows: dict) -> None:
    rows["frame_index"][49:82] += 1


@pytest.mark.parametrize(
    "spoil, words",
    [
        (degrees, "frame 1: yaw of column observation.state is 90.0, .* radians"),
        (unknown_state, "frame 1: the state is missing, NaN or infinite"),
        (unknown_camera, "frame 1: the pose of observation.images.left is missing"),
        (repeated_time, r"frame 1: column timestamp is 0.000 s, expected 0.067 s"),
        (skipped_time, r"frame 11: column timestamp is 0.800 s, expected 0.733 s \(11/15\)"),
        (drifting_time, r"frame 11: column timestamp is 0.770 s, expected 0.733 s .* drifts"),
        (late_clock, r"episode 2 begins at 2.000 s, not at 0"),
        (clock_of_the_day, r"episode 2 begins at 100000.000 s, not at 0"),
        (unknown_time, r"episode 2 begins at nan s"),
        (other_episode, "episode 2: 32 rows, but meta/episodes says 33"),
        (repeated_frame, "episode 2: frame_index is 0 where 1 is expected"),
        (hole, "episode 2: frame_index is 4 where 3 is expected"),
        (from_one, "episode 2: frame_index is 1 where 0 is expected"),
    ],
)
def test_an_episode_whose_rows_make_no_sense_is_left_out_and_named(tmp_path, spoil, words):
    rows = rows_of(LENGTHS)
    spoil(rows)
    data = load_lerobot(write_lerobot(tmp_path, rows), columns=Columns(extrinsics="camera_extrinsics.left"))
    assert 2 not in data.numbers and {0, 1} <= set(data.numbers.tolist())
    assert re.search(rf"file-000\.parquet, episode 2.*{words}|file-000\.parquet, {words}", said(data))
    # Rows of the others are where they should be.
    for episode, number in enumerate(data.numbers.tolist()):
        first = sum(LENGTHS[:number])
        assert data.states[data.rows(episode), 0].tolist() == list(range(first, first + LENGTHS[number]))


def test_a_rate_that_is_rounded_is_no_drift(tmp_path):
    rows = rows_of(LENGTHS)
    rows["timestamp"] = (rows["frame_index"] / 14.985).astype(np.float32)
    assert len(load_lerobot(write_lerobot(tmp_path, rows))) == 4


def all_degrees(rows: dict) -> None:
    rows["observation.state"][:, 5] = 90.0


def milliseconds(rows: dict) -> None:
    rows["timestamp"] *= 1000


def all_late(rows: dict) -> None:
    rows["timestamp"] += 2


@pytest.mark.parametrize(
    "spoil, words",
    [
        (all_degrees, "file-001.parquet, episode 0, frame 0: yaw of column .* convert it from degrees"),
        (milliseconds, r"file-001.parquet, episode 0, frame 1: column timestamp is 66\.667 s, .* seconds"),
        (all_late, r"file-001.parquet, episode 0 begins at 2\.000 s, not at 0"),
    ],
)
def test_a_mistake_of_all_episodes_is_one_sentence(tmp_path, spoil, words):
    rows = rows_of(LENGTHS)
    spoil(rows)
    with pytest.raises(
        TrajectoryError, match=f"none of its episodes can be used, the first: .*{words}"
    ) as error:
        load_lerobot(write_lerobot(tmp_path, rows))
    assert "\n" not in str(error.value) and str(error.value).count("episode 0") == 1


# -- images --------------------------------------------------------------------------------------------------


def brute_force(groups: np.ndarray, begins: np.ndarray, ends: np.ndarray, slack: float) -> list[bool]:
    def overlap(a: int, b: int) -> bool:
        shared = min(ends[a], ends[b]) - max(begins[a], begins[b])
        return a != b and groups[a] == groups[b] and shared > slack

    return [any(overlap(a, b) for b in range(len(groups))) for a in range(len(groups))]


@pytest.mark.parametrize("seed", range(30))
def test_overlaps_are_those_of_every_pair(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 12))
    groups = rng.integers(0, 3, count)
    begins = rng.integers(0, 40, count).astype(float)
    ends = begins + rng.integers(2, 12, count)
    assert overlapping(groups, begins, ends, 0.5).tolist() == brute_force(groups, begins, ends, 0.5)


def test_two_episodes_over_one_another_in_a_video_are_both_left_out(tmp_path):
    def shift(seconds: float) -> Callable[[dict], None]:
        def change(table: dict) -> None:
            for end in ("from", "to"):
                table[f"videos/{LEFT}/{end}_timestamp"][1] -= seconds

        return change

    folder = spoiled(write_lerobot(tmp_path), EPISODES, shift(0.4 / FPS))
    assert len(load_lerobot(folder)) == 4  # rounding
    data = load_lerobot(spoiled(folder, EPISODES, shift(0.2 / FPS)))
    assert data.numbers.tolist() == [2, 3]
    assert len(data.left_out.bad) == 2 and said(data).count("are said to show another episode too") == 2
    assert load_lerobot(folder, cameras=[WRIST]).numbers.tolist() == [0, 1, 2, 3]


def begin_early(*episodes: int, seconds: float = 0.5) -> Callable[[dict], None]:
    def change(table: dict) -> None:
        for episode in episodes:
            table[f"videos/{LEFT}/from_timestamp"][episode] -= seconds

    return change


@pytest.mark.parametrize(
    "episodes, used",
    [((1,), [0, 2, 3]), ((3,), [0, 1, 2]), ((1, 3), [0, 2]), ((0, 1, 2), [3])],
    ids=str,
)
def test_a_begin_within_the_episode_before_is_wrong_even_if_that_one_is_left_out(tmp_path, episodes, used):
    """Its images would be earlier than its rows."""
    data = load_lerobot(spoiled(write_lerobot(tmp_path), EPISODES, begin_early(*episodes)))
    assert data.numbers.tolist() == used and len(data.left_out.bad) == len(episodes)
    span = {1: r"2\.167 to 3\.267", 3: r"1\.700 to 4\.200"}.get(episodes[-1], r"-0\.500 to")
    assert re.search(f"episode {episodes[-1]}: its images of {LEFT} lie at {span}", said(data))


def test_where_all_begin_early_none_is_used(tmp_path):
    folder = spoiled(write_lerobot(tmp_path), EPISODES, begin_early(0, 1, 2, 3))
    with pytest.raises(TrajectoryError, match="none of its episodes can be used"):
        load_lerobot(folder)


def test_a_film_that_goes_on_after_the_last_row_is_used(tmp_path):
    """The begin is right, whatever follows the last row; half a row and a rate of 29.97 are rounding."""

    def shorten(table: dict) -> None:
        table["length"][0] -= 5

    folder = spoiled(write_lerobot(tmp_path), EPISODES, shorten)
    spoiled(folder, DATA, lambda rows: [rows.update({name: v[:35] + v[40:]}) for name, v in rows.items()])
    data = load_lerobot(spoiled(folder, EPISODES, begin_early(1, seconds=0.4 / FPS)))
    assert data.numbers.tolist() == [0, 1, 2, 3] and data.length.tolist() == [35, 9, 33, 30]


def beyond_the_end(table: dict) -> None:
    for end in ("from", "to"):
        table[f"videos/{LEFT}/{end}_timestamp"][3] += 1.0


def test_an_episode_beyond_the_end_of_its_video_is_left_out(tmp_path):
    data = load_lerobot(spoiled(write_lerobot(tmp_path), EPISODES, beyond_the_end))
    assert data.numbers.tolist() == [0, 1, 2]
    assert re.search(r"episode 3: its images .* reach to 5\.167 s, but the video ends at 4\.200", said(data))


def test_where_many_videos_are_not_opened_at_once_each_read_finds_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(lerobot_videos, "OPENED", 1)
    data = load_lerobot(spoiled(write_lerobot(tmp_path), EPISODES, beyond_the_end))
    assert data.numbers.tolist() == [0, 1, 2, 3]
    with pytest.raises(DecodeError, match=r"file-001\.mp4: it ends at 4\.200 s, before its episode"):
        data.frames(3, LEFT, [0])  # this image is there, but may be another one's
    assert len(data.frames(3, WRIST, [29])) == 1


def with_depth(folder: Path, **spelling) -> Path:
    features = json.loads((folder / "meta/info.json").read_text())["features"]
    features[WRIST] = feature("video", 64, 96, 3) | spelling
    return with_info(folder, features=features)


@pytest.mark.parametrize(
    "spelling",
    [
        {"info": {"video.is_depth_map": True}},
        {"info": {"is_depth_map": True}},
        {"video_info": {"video.is_depth_map": True}, "info": None},
        {"is_depth_map": True},
        {"info": {"video.pix_fmt": "gray16le"}},
        {"video_info": {"pix_fmt": "gray12le"}},
    ],
)
def test_depth_cameras_of_all_spellings_are_left_out_in_a_line(tmp_path, spelling, capsys):
    folder = with_depth(write_lerobot(tmp_path), **spelling)
    assert load_lerobot(folder).cameras == (LEFT,)
    assert f"cameras ['{WRIST}'] hold depth and are left out" in capsys.readouterr().err
    with pytest.raises(TrajectoryError, match=f"camera '{WRIST}' cannot be used, it holds depth"):
        load_lerobot(folder, cameras=[WRIST])


@pytest.mark.parametrize(
    "spelling", [{"info": {"is_depth_map": False, "video.pix_fmt": "yuv420p"}}, {"info": {}}]
)
def test_colour_cameras_stay(tmp_path, spelling):
    data = load_lerobot(with_depth(write_lerobot(tmp_path), **spelling))
    assert data.cameras == (LEFT, WRIST) and data.left_out.notes == []


def test_a_dataset_of_depth_alone_is_refused(tmp_path):
    folder = with_depth(write_lerobot(tmp_path), is_depth_map=True)
    features = json.loads((folder / "meta/info.json").read_text())["features"]
    del features[LEFT]
    with pytest.raises(TrajectoryError, match="hold depth, and there are no others"):
        load_lerobot(with_info(folder, features=features))


# -- partial downloads ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content, words", [(None, "no such file"), (b"", "the file is empty"), (LFS, "Git LFS")]
)
@pytest.mark.parametrize("file", [DATA, f"videos/{LEFT}/chunk-000/file-000.mp4"])
def test_episodes_whose_files_are_not_there_are_counted(tmp_path, file, content, words, capsys):
    folder = write_lerobot(tmp_path)
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    data = load_lerobot(folder)
    assert data.numbers.tolist() == [2, 3] and len(data.left_out.missing) == 2 and not data.left_out.bad
    assert f"{Path(file).name}, episode 0: {words}" in said(data).replace("a Git", "Git")
    assert "2 of 4 episodes left out (2 of them for want of a file)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "file, words",
    [(DATA, "cannot be read"), (f"videos/{LEFT}/chunk-000/file-000.mp4", "corrupt, cut off or no video")],
)
def test_cut_off_files_count_as_missing(tmp_path, file, words):
    folder = write_lerobot(tmp_path)
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[: len(whole) // 2])
    data = load_lerobot(folder)
    assert data.numbers.tolist() == [2, 3]
    assert len(data.left_out.missing) == 2 and words in data.left_out.missing[0]


def test_a_camera_that_was_not_downloaded_is_left_out_unless_it_is_named(tmp_path):
    folder = write_lerobot(tmp_path)
    for video in (folder / f"videos/{WRIST}").rglob("*.mp4"):
        video.unlink()
    data = load_lerobot(folder)
    assert data.cameras == (LEFT,) and len(data) == 4
    assert f"camera {WRIST} is left out: none of its video files is there" in said(data)
    with pytest.raises(TrajectoryError, match=r"none of its episodes can be used, the first: .*no such file"):
        load_lerobot(folder, cameras=[WRIST])
    for video in (folder / f"videos/{LEFT}").rglob("*.mp4"):
        video.unlink()
    with pytest.raises(TrajectoryError, match=r"none of the video files of .* is there"):
        load_lerobot(folder)


def test_a_table_of_episodes_that_cannot_be_read_is_a_note(tmp_path):
    folder = with_info(write_lerobot(tmp_path), total_episodes=4)
    table = pa.parquet.read_table(folder / EPISODES)
    pa.parquet.write_table(table.slice(0, 2), folder / EPISODES)
    (folder / EPISODES.replace("file-000", "file-001")).write_bytes(LFS)
    data = load_lerobot(folder)
    assert data.numbers.tolist() == [0, 1]
    assert "file-001.parquet: a Git LFS pointer" in said(data)
    assert "meta/info.json counts 4 episodes, but meta/episodes has 2" in said(data)
    (folder / EPISODES).write_bytes(LFS)
    with pytest.raises(TrajectoryError, match=r"file-000\.parquet: a Git LFS pointer"):
        load_lerobot(folder)
    (folder / EPISODES).unlink()
    pa.parquet.write_table(table.slice(0, 0), folder / EPISODES.replace("file-000", "file-001"))
    with pytest.raises(TrajectoryError, match="meta/episodes: no episodes"):
        load_lerobot(folder)


def test_a_file_with_a_column_of_text_is_named(tmp_path):
    folder = write_lerobot(tmp_path)
    spoiled(folder, DATA, lambda table: table.update(timestamp=["soon"] * len(table["timestamp"])))
    data = load_lerobot(folder)
    assert data.numbers.tolist() == [2, 3]
    assert "file-001.parquet: column timestamp holds string, expected numbers (episode 0)" in said(data)
    spoiled(folder, DATA, lambda table: table.pop("timestamp"))
    assert "file-001.parquet: no column 'timestamp'" in said(load_lerobot(folder))


@pytest.mark.parametrize(
    "info, words",
    [
        ({"fps": float("nan")}, "fps is nan, expected the number of rows"),
        ({"fps": True}, "fps is True, expected the number of rows"),
        (
            {"video_path": "videos/{episode_index}/{file_index}.mp4"},
            r"expected \{video_key\}, \{chunk_index\}",
        ),
        (
            {"codebase_version": "v2.0"},
            "convert it with convert_dataset_v20_to_v21 and then lerobot's convert",
        ),
    ],
)
def test_an_info_that_cannot_be_followed_is_refused_in_one_sentence(tmp_path, info, words):
    with pytest.raises(TrajectoryError, match=words):
        load_lerobot(with_info(write_lerobot(tmp_path), **info))


# -- the share, and what is said -----------------------------------------------------------------------------


def test_a_share_of_bad_episodes_is_allowed_and_all_are_listed(tmp_path, capsys):
    folder = spoiled(write_lerobot(tmp_path / "data"), EPISODES, set_value("length", 0, None))
    out = tmp_path / "run"
    watch, _ = fit(folder, out, 2)
    assert watch.seen == [0, 1] and watch.validated == [1, 2]
    told = capsys.readouterr().err
    listed = (out / "left_out_episodes.txt").read_text().splitlines()
    assert (
        len(listed) == 2 and "episode 0: length is nan" in listed[0] and "episode 1: too short" in listed[1]
    )
    assert told.count("1 of 4 episodes left out") == 1 and str(out / "left_out_episodes.txt") in told


def test_the_list_of_an_earlier_run_goes_once_nothing_is_left_out(tmp_path):
    folder = write_lerobot(tmp_path / "data")
    listed = tmp_path / "left_out_episodes.txt"

    def begin(frames: int) -> None:
        data = TrajectoryData([RobotSource(str(folder))], window=replace(WINDOW, frames=frames))
        data.trainer = SimpleNamespace(default_root_dir=tmp_path)
        data.setup("fit")

    begin(WINDOW.frames)
    assert "episode 1: too short" in listed.read_text()
    begin(2)
    assert not listed.exists()


def test_too_many_bad_episodes_are_refused(tmp_path):
    rows = rows_of(LENGTHS)
    rows["observation.state"][:82, 5] = 90.0
    data = TrajectoryData([RobotSource(str(write_lerobot(tmp_path, rows)))], window=WINDOW)
    with pytest.raises(
        TrajectoryError, match=r"3 of 4 episodes are bad, more than data.max_bad_share=0.05"
    ) as error:
        data.setup("fit")
    assert str(error.value).count("yaw of column observation.state") == 3
    TrajectoryData(data.train, window=WINDOW, max_bad_share=1.0).setup("fit")
