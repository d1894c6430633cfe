"""A run belongs to its data and to the weights it started from, as it belongs to its recipe."""

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from stages.cooldown import Cooldown
from tests.conftest import moving_square
from tests.stage_runs import equal, fit
from tests.stages.test_stages import MASKS, NARROW, TINY, clip_data, pretrain
from tests.videos import even_times, write_video
from vjepa.data.clip_data import ClipData, Source
from vjepa.data.digest import EDGE, DataDigest, files_digest, spread
from vjepa.data.labelled_clip_data import LabelledClipData
from vjepa.errors import UserError
from vjepa.training.optim import OptimConfig, Schedule
from vjepa.training.run_folder import RunFolder, differences
from vjepa.training.run_inputs import weights_digests
from vjepa.training.starting_point import claim_data, claim_folder
from vjepa.weights.files import CheckpointError, digest


def claim(folder: RunFolder, recipe: dict, load_data) -> None:
    """Take the folder, and write down what it is taken for, as the start of a fit does."""
    weights = claim_folder(folder, recipe, load_data)
    folder.write_recipe(recipe)
    folder.inputs.write(weights, folder.inputs.data)


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
    claim(folder, {"model": {}}, dict)
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


def test_a_file_of_a_list_that_is_missing_is_named(mine, begun, tmp_path):
    start(begun, data_of(tmp_path / "list.csv"))
    (mine / "2.mp4").unlink()
    (mine / "3.mp4").write_bytes(b"")
    with pytest.raises(
        UserError, match=r"list\.csv .*; \S*mine/2\.mp4 is missing now, or cannot be read; put"
    ):
        claim_data(begun, data_of(tmp_path / "list.csv"))
    start(begun, data_of(tmp_path / "list.csv"))
    (mine / "1.mp4").write_bytes(b"")  # another one than at the beginning
    with pytest.raises(UserError, match="another content"):
        claim_data(begun, data_of(tmp_path / "list.csv"))


def test_a_finished_run_is_not_finished_on_other_data(mine, begun):
    start(begun, data_of(mine))
    begun.export.touch()
    with pytest.raises(SystemExit):
        claim(begun, {"model": {}}, lambda: data_of(mine))
    add(mine)
    with pytest.raises(UserError, match="1 more"):
        claim(begun, {"model": {}}, lambda: data_of(mine))


def test_where_nothing_was_trained_data_may_change(mine, tmp_path):
    folder = RunFolder(tmp_path / "new")
    claim(folder, {"model": {}}, dict)
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
    claim(begun, {"model": model}, dict)
    assert begun.inputs.weights == {"init_from": digest(weights)}
    weights.write_bytes(b"second")
    with pytest.raises(UserError, match=r"other weights: model\.init_from named another file then, or"):
        claim(begun, {"model": model}, dict)


def test_of_many_files_some_are_read_and_missing_ones_count(mine, tmp_path):
    assert spread(1_000_000).tolist()[:2] == [0, 100] and spread(1_000_000)[-1] == 999_999
    assert len(spread(1_000_000)) == 10_000 and spread(3).tolist() == [0, 1, 2] and len(spread(0)) == 0
    files = sorted(mine.iterdir())
    digest, unreadable = files_digest(files)
    assert unreadable == "" and files_digest(files[::-1])[0] != digest
    other, unreadable = files_digest([*files[:3], tmp_path / "none.mp4"])
    assert unreadable == str(tmp_path / "none.mp4") and other != digest


def test_a_record_survives_its_file(begun):
    data = {"val": DataDigest("mine", 4, "videos", "0c7a", "1b2c")}
    begun.inputs.write({"encoder": "9f"}, data)
    assert begun.inputs.data == data and begun.inputs.weights == {"encoder": "9f"}


def recipe_of(source: object, **model) -> dict:
    return {"model": model, "data": {"train": [{"manifest": str(source), "weight": 1.0}], "val": None}}


def begin(tmp_path: Path, recipe: dict, data: ClipData, stage: str | None = None) -> RunFolder:
    """A run that was cut after its first checkpoint."""
    folder = RunFolder(tmp_path / "begun", stage)
    claim(folder, recipe, dict)
    claim_data(folder, data)
    folder.checkpoints.mkdir()
    folder.checkpoint(3).touch()
    return folder


def go_on(folder: RunFolder, recipe: dict, source: Path) -> None:
    claim(folder, recipe, lambda: data_of(source))
    claim_data(folder, data_of(source))


@pytest.mark.parametrize("kind", ["mine", "list.csv"])
def test_a_place_does_not_matter_where_the_content_is_recorded(kind, mine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = begin(tmp_path, recipe_of(kind), data_of(Path(kind)))
    for place in (f"./{kind}", f"{kind}/" if kind == "mine" else kind, tmp_path / kind):
        go_on(folder, recipe_of(place), Path(place))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.move(kind, elsewhere / "other")
    if kind == "list.csv":  # with another place of the videos too, and whole paths
        moved = (elsewhere / "other").read_text().replace("mine/", f"{elsewhere}/videos/")
        (elsewhere / "other.csv").write_text(moved)
        shutil.move("mine", elsewhere / "videos")
    place = elsewhere / ("other.csv" if kind == "list.csv" else "other")
    go_on(folder, recipe_of(place), place)
    assert folder.read_recipe() == recipe_of(place)


def test_another_place_with_other_data_is_refused_before_anything_is_written(mine, tmp_path):
    folder = begin(tmp_path, recipe_of(mine), data_of(mine))
    other = tmp_path / "other"
    shutil.copytree(mine, other)
    add(other)
    with pytest.raises(UserError, match=r"5 are there now \(1 more\)"):
        claim(folder, recipe_of(other), lambda: data_of(other))
    assert folder.read_recipe() == recipe_of(mine)
    for place in ("nowhere", None):  # nothing to compare
        with pytest.raises(UserError, match="another recipe"):
            folder.check_recipe(recipe_of(place))
    folder.inputs.file.write_text('{"weights": {}, "data": {}}')  # as an older version left it
    with pytest.raises(UserError, match=r"data\.train\.0\.manifest"):
        folder.check_recipe(recipe_of(other))


def test_robots_and_conversations_have_places_too(begun):
    begun.inputs.write(
        {"encoder": "9f", "init_from": "folder"}, {"train.0": DataDigest("a", 1, "episodes", "b")}
    )
    places = begun.inputs.places
    assert {"data.train.0.folder", "data.train.0.file", "data.train", "model.encoder"} - places == {
        "data.train"
    }
    assert "model.init_from" not in places  # early runs knew nothing of a Hugging Face directory


def test_a_moved_list_has_the_same_digest_and_another_order_has_not(mine, tmp_path):
    def digest_of(text: str) -> str:
        (tmp_path / "some.csv").write_text("path,label\n" + text)
        return data_of(tmp_path / "some.csv").data_digests()["train.0"].rows

    first = digest_of("mine/0.mp4,0\nmine/1.mp4,1\n")
    assert (
        digest_of(f"{mine}/0.mp4,0\n{mine}/1.mp4,1\n")
        == first
        == digest_of("./mine/0.mp4,0\n./mine/1.mp4,1\n")
    )
    one = digest_of("mine/0.mp4,0\n")
    others = ["mine/1.mp4,1\nmine/0.mp4,0\n", "mine/0.mp4,0\nmine/1.mp4,0\n", "mine/0.mp4,0\nmine/2.mp4,1\n"]
    others += ["mine/0.mp4,0\nmine/a/1.mp4,1\n", "mine/10.mp4,0\nmine/11.mp4,1\n"]
    assert len({first, one, *map(digest_of, others)}) == 2 + len(others)


def test_weights_that_are_gone_are_not_asked_for_again(mine, tmp_path):
    weights = tmp_path / "pretrain.safetensors"
    weights.write_bytes(b"first")
    recipe = recipe_of(mine, init_from=str(weights))
    folder = begin(tmp_path, recipe, data_of(mine))
    copy = str(shutil.copy(weights, tmp_path / "copy.safetensors"))
    go_on(folder, recipe_of(mine, init_from=copy), mine)
    Path(copy).unlink()
    go_on(folder, recipe_of(mine, init_from=copy), mine)
    assert folder.inputs.weights == {"init_from": digest(weights)}
    with pytest.raises(UserError, match=r"model\.init_from: .*copy\.safetensors -> .*typo"):
        go_on(folder, recipe_of(mine, init_from=str(tmp_path / "typo")), mine)
    with pytest.raises(UserError, match="does not exist"):
        claim(RunFolder(tmp_path / "new"), recipe_of(mine, init_from=copy), dict)
    Path(copy).write_bytes(b"second")
    with pytest.raises(UserError, match="other weights"):
        go_on(folder, recipe_of(mine, init_from=copy), mine)


def test_a_cooldown_continues_without_the_run_that_it_started_from(clips_manifest, tmp_path):
    def cooldown() -> Cooldown:
        return Cooldown(TINY, NARROW, MASKS, constant, Schedule(0.9), init_from=str(tmp_path / "first.ckpt"))

    constant = OptimConfig(lr=Schedule(1e-3))
    first = fit(pretrain(), clip_data(clips_manifest), tmp_path, steps=1)
    first.save_checkpoint(tmp_path / "first.ckpt")
    straight = cooldown()
    fit(straight, clip_data(clips_manifest), tmp_path, steps=4)
    cut = fit(cooldown(), clip_data(clips_manifest), tmp_path, steps=2)
    cut.save_checkpoint(tmp_path / "cut.ckpt")
    (tmp_path / "first.ckpt").unlink()
    resumed = cooldown()
    resumed.continues = True
    fit(resumed, clip_data(clips_manifest), tmp_path, steps=4, ckpt_path=tmp_path / "cut.ckpt")
    assert equal(straight, resumed)
    with pytest.raises(CheckpointError, match="does not exist"):
        fit(cooldown(), clip_data(clips_manifest), tmp_path, steps=4)


def test_a_hugging_face_directory_is_known_by_its_files(begun, tmp_path):
    folder = tmp_path / "hf"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"first")
    first = weights_digests({"encoder": str(folder)})
    begun.inputs.write({"encoder": "folder"}, {})
    begun.inputs.check_weights(first)
    begun.inputs.write(first, {})
    (folder / "README.md").write_text("not read")
    begun.inputs.check_weights(weights_digests({"encoder": str(folder)}))
    (folder / "model.safetensors").write_bytes(b"other")
    with pytest.raises(UserError, match="other weights"):
        begun.inputs.check_weights(weights_digests({"encoder": str(folder)}))


def test_a_run_of_another_stage_is_refused_and_one_of_an_unknown_stage_goes_on(mine, tmp_path):
    recipe = recipe_of(mine)
    folder = begin(tmp_path, recipe, data_of(mine), stage="cooldown")
    folder.check_recipe(recipe)
    pretrain = RunFolder(folder.path, "pretrain")
    with pytest.raises(
        UserError, match=r"a run of the stage cooldown, and this is pretrain; choose another --out"
    ):
        pretrain.check_recipe(recipe)
    record = json.loads(folder.inputs.file.read_text())
    del record["stage"]
    folder.inputs.file.write_text(json.dumps(record))
    go_on(pretrain, recipe, mine)


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", "null", '{"weights": null, "data": null}', '{"weights": {}, "data": {"val": {}}}',
        '{"weights": {}, "data": {"val": {"source": "a", "count": null, "unit": "rows", "rows": "b"}}}',
        "\udc80",
    ],
)  # fmt: skip
def test_a_damaged_record_is_one_sentence(content, begun):
    begun.inputs.file.write_text(content, errors="surrogateescape")
    with pytest.raises(UserError, match=r"inputs\.json is damaged; remove it, and the run goes on") as error:
        claim(begun, {"model": {}}, dict)
    assert "\n" not in str(error.value)


def test_what_a_newer_version_has_recorded_is_passed_over(mine, begun):
    start(begun, data_of(mine))
    record = json.loads(begun.inputs.file.read_text())
    record["data"]["train.0"]["future"] = record["future"] = 1
    begun.inputs.file.write_text(json.dumps(record))
    claim_data(begun, data_of(mine))


def test_without_a_record_it_is_said_that_nothing_is_compared(begun, capsys):
    begun.check_recipe({"model": {}})
    assert capsys.readouterr().err == ""
    begun.inputs.file.unlink()
    begun.check_recipe({"model": {}})
    assert capsys.readouterr().err.startswith(f"note: {begun.path} has no inputs.json")
    begun.write_recipe({"model": {}, "digest": {}})  # as up to version 0.2
    begun.check_recipe({"model": {}})
    assert capsys.readouterr().err == ""


CHAIN = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
"""References to references, which stand for 30 billion values."""


@pytest.mark.parametrize("content", ["", "- a", "model: {", 'model:\n  a: "b', "\udc80", CHAIN, "[" * 10_000])
def test_a_damaged_recipe_is_one_sentence(content, begun):
    begun.recipe.write_text(content, errors="surrogateescape")
    with pytest.raises(UserError, match=r"config\.yaml is empty or damaged") as error:
        claim(begun, {"model": {}}, dict)
    assert "\n" not in str(error.value)


def test_a_recipe_that_was_cut_anywhere_is_answered(begun):
    callbacks = [{"class_path": "vjepa.training.monitors.DataHealth", "init_args": {"folder": "a"}}, "Timer"]
    recipe = {"model": {"width": 4}, "trainer": {"callbacks": callbacks, "max_steps": 4}}
    text = yaml.safe_dump(recipe, sort_keys=False)
    for end in range(len(text) - len("4\n")):
        begun.recipe.write_text(text[:end])
        with pytest.raises(UserError, match=r"damaged|another recipe"):
            begun.check_recipe(recipe)


def test_a_full_disk_leaves_the_record_as_it_was(mine, begun, monkeypatch):
    start(begun, data_of(mine))
    before = begun.inputs.file.read_text(), begun.recipe.read_text()

    def fail(path: Path, text: str) -> None:
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fail)
    for write in (lambda: begun.inputs.write({}, {}), lambda: begun.write_recipe({})):
        with pytest.raises(OSError, match="No space"):
            write()
    assert (begun.inputs.file.read_text(), begun.recipe.read_text()) == before
    assert sorted(path.name for path in begun.path.iterdir()) == [
        *(".lock", "checkpoints", "commit.txt", "config.yaml", "inputs.json")
    ]


def test_how_many_batches_are_validated_or_tested_may_change():
    for name in ("limit_val_batches", "limit_test_batches"):
        assert differences({"trainer": {name: 1.0}}, {"trainer": {name: 1}}) == []
    assert differences({"trainer": {"limit_train_batches": 1}}, {"trainer": {"limit_train_batches": 2}})


def test_what_happens_at_a_jump_of_the_loss_may_change():
    assert differences({"spike": None}, {"spike": {"factor": 5.0, "action": "stop"}}) == []
    assert differences({"spike": {"action": "stop"}}, {"spike": {"action": "warn"}}) == []


@pytest.mark.parametrize("place", [0, EDGE - 1, -EDGE, -1])
def test_one_byte_at_either_end_of_a_large_file_counts(tmp_path, place):
    content = bytearray(5 * EDGE)
    file = tmp_path / "a.mp4"
    file.write_bytes(content)
    before, _ = files_digest([file])
    content[place] = 1
    file.write_bytes(content)
    assert files_digest([file])[0] != before
