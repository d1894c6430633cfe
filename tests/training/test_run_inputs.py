"""A run belongs to its data and to the weights it started from, as it belongs to its recipe."""

import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import moving_square
from tests.videos import even_times, write_video
from vjepa.data.clip_data import ClipData, Source
from vjepa.data.digest import DataDigest, files_digest, spread
from vjepa.data.labelled_clip_data import LabelledClipData
from vjepa.errors import UserError
from vjepa.training.run_folder import RunFolder
from vjepa.training.starting_point import claim_data, claim_folder
from vjepa.weights.files import digest


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for i in range(4):
        write_video(folder / f"{i}.mp4", even_times(30), pictures=moving_square(0, i), size=(32, 32))
    return folder


@pytest.fixture
def mine(videos, tmp_path) -> Path:
    """A folder of four videos, and lists of them with labels and segments."""
    shutil.copytree(videos, tmp_path / "mine")
    rows = [f"mine/{i}.mp4,{i % 2},0.0,{0.5 + i / 10},{i * 1.5}" for i in range(4)]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,start,end,speed", *rows]) + "\n")
    return tmp_path / "mine"


def data_of(source: Path) -> ClipData:
    return ClipData([Source(str(source))])


@pytest.fixture
def begun(tmp_path) -> RunFolder:
    """A folder in which a run has begun, since it holds a checkpoint."""
    folder = RunFolder(tmp_path / "run")
    claim_folder(folder, {"model": {}}, dict)
    folder.checkpoints.mkdir()
    folder.checkpoint(3).touch()
    return folder


def start(folder: RunFolder, data: ClipData) -> None:
    """What the first start of a run records."""
    folder.inputs.write({}, data.data_digests())


def test_the_same_data_go_on_also_as_a_copy(mine, begun, tmp_path):
    for source in (mine, tmp_path / "list.csv"):
        start(begun, data_of(source))
        claim_data(begun, data_of(source))
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(mine, elsewhere)  # other times of modification
    os.utime(elsewhere / "0.mp4", (0, 0))
    before, after = (data_of(folder).data_digests()["train.0"] for folder in (mine, elsewhere))
    assert before._replace(source=str(elsewhere)) == after


def add(mine: Path) -> None:
    shutil.copy(mine / "0.mp4", mine / "9.mp4")


def take_away(mine: Path) -> None:
    (mine / "3.mp4").unlink()
    (mine / "2.mp4").unlink()


def rename(mine: Path) -> None:
    (mine / "3.mp4").rename(mine / "4.mp4")


def exchange(mine: Path) -> None:
    shutil.copy(mine / "0.mp4", mine / "1.mp4")


def damage(mine: Path) -> None:
    content = bytearray((mine / "1.mp4").read_bytes())
    content[-1] ^= 0xFF
    (mine / "1.mp4").write_bytes(content)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (add, r"5 are there now \(1 more\)"),
        (take_away, r"2 are there now \(2 fewer\)"),
        (rename, "as many now, but other ones"),
        (exchange, "another content"),
        (damage, "another content"),
    ],
)
def test_a_folder_that_changed_is_named_with_what_can_be_done(change, said, mine, begun):
    start(begun, data_of(mine))
    change(mine)
    sentence = (
        rf"run was run with 4 videos of .*mine \(data\.train\.0\); .*{said}.*put the data back .* --out"
    )
    with pytest.raises(UserError, match=sentence) as error:
        claim_data(begun, data_of(mine))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [("mine/0.mp4,0", "mine/0.mp4,1"), ("0.0,0.5", "0.1,0.5"), (",0.6,", ",0.7,"), (",4.5", ",5.5")],
)
def test_a_list_with_another_label_segment_or_target_is_another(old, new, mine, begun, tmp_path):
    path = tmp_path / "list.csv"

    def data() -> LabelledClipData:
        return LabelledClipData([Source(str(path))], str(path), str(path), numbers=("speed",))

    start(begun, data())
    assert begun.inputs.data.keys() == {"train.0", "val", "test"}
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError, match=r"4 rows of .*list\.csv .*other labels or segments"):
        claim_data(begun, data())


def test_a_finished_run_is_not_finished_on_other_data(mine, begun):
    start(begun, data_of(mine))
    begun.export.touch()
    with pytest.raises(SystemExit):
        claim_folder(begun, {"model": {}}, lambda: data_of(mine))
    add(mine)
    with pytest.raises(UserError, match="1 more"):
        claim_folder(begun, {"model": {}}, lambda: data_of(mine))


def test_where_nothing_was_trained_data_may_change(mine, tmp_path):
    folder = RunFolder(tmp_path / "new")
    claim_folder(folder, {"model": {}}, dict)
    claim_data(folder, data_of(mine))
    add(mine)
    claim_data(folder, data_of(mine))
    assert folder.inputs.data["train.0"].count == 5


def test_runs_that_have_recorded_no_data_go_on(mine, begun):
    assert begun.inputs.data == {}
    claim_data(begun, data_of(mine))
    assert begun.inputs.data["train.0"].count == 4


def test_weights_that_were_written_anew_are_noticed_also_in_old_folders(begun, tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"first")
    model = {"init_from": str(weights)}
    begun.inputs.file.unlink()
    begun.write_recipe({"model": model, "digest": {"init_from": digest(weights)}})  # as up to version 0.2
    claim_folder(begun, {"model": model}, dict)
    assert begun.inputs.weights == {"init_from": digest(weights)}
    weights.write_bytes(b"second")
    with pytest.raises(UserError, match=r"other weights: the file of model\.init_from was written anew"):
        claim_folder(begun, {"model": model}, dict)


def test_of_many_files_some_are_read_and_missing_ones_count(mine, tmp_path):
    assert spread(1_000_000).tolist()[:2] == [0, 100] and spread(1_000_000)[-1] == 999_999
    assert len(spread(1_000_000)) == 10_000 and spread(3).tolist() == [0, 1, 2] and len(spread(0)) == 0
    files = sorted(mine.iterdir())
    assert files_digest(files) != files_digest([*files[:3], tmp_path / "none.mp4"])
    assert files_digest(files) != files_digest(files[::-1])


def test_a_record_survives_its_file(begun):
    data = {"val": DataDigest("mine", 4, "videos", "0c7a", "1b2c")}
    begun.inputs.write({"encoder": "9f"}, data)
    assert begun.inputs.data == data and begun.inputs.weights == {"encoder": "9f"}
