"""A sweep runs what is not finished, and its curves and table say what was logged."""

import pytest
import yaml
from torch.utils.tensorboard import SummaryWriter

from vjepa.errors import UserError
from vjepa.training.sweep import (
    Sweep,
    command,
    draw,
    folder_of,
    over_seeds,
    read_curves,
    read_sweep,
    run_sweep,
    sweep_table,
)

RECIPE = """
model:
  encoder: {width: 16, depth: 1, heads: 2, mlp_width: 16, patch: 8}
  predictor: {width: 16, depth: 1, heads: 2, mlp_width: 16}
  masks: {kinds: [{blocks: 1, scale: 1.0, duration: 0.5, place: end}], group: 4}
data: {train: [{manifest: MANIFEST}], val: MANIFEST, clip: {frames: 4, fps: 8, size: 32}, batch_size: 4,
  workers: 0}
trainer: {max_steps: 2, accelerator: cpu, enable_progress_bar: false, enable_model_summary: false,
  callbacks: [
  {class_path: vjepa.training.pretraining_monitors.CollapseMonitor},
  {class_path: vjepa.training.pretraining_monitors.LossByDistance}]}
"""


def logged(place, values: dict[int, float]) -> None:
    with SummaryWriter(str(place)) as writer:
        for step, value in values.items():
            writer.add_scalar("readout/label_linear", value, step)


@pytest.fixture
def sweep(tmp_path) -> Sweep:
    sweep = Sweep(
        "pretrain",
        ["a.yaml"],
        {"one": {}, "other way": {"model.x": 2}},
        seeds=[0, 1],
        curves=["readout/label_linear"],
    )
    for name, rise in (("one", 0.1), ("other way", 0.3)):
        for seed in sweep.seeds:
            logged(folder_of(tmp_path, name, seed), {0: 0.2, 10: 0.2 + rise + 0.02 * seed})
    return sweep


def test_the_table_holds_first_and_last_values(sweep, tmp_path):
    text = sweep_table(sweep, tmp_path)
    assert "| one | 0.200 -> 0.310 ± 0.014 |" in text and "| other way | 0.200 -> 0.510 ± 0.014 |" in text
    assert draw(sweep, tmp_path).stat().st_size > 1000


def test_a_scalar_that_is_not_there_is_said_to_be_missing(sweep, tmp_path):
    assert read_curves(folder_of(tmp_path, "one", 0), ["nothing"]) == {"nothing": {}}
    other = Sweep("pretrain", ["a.yaml"], {"one": {}}, curves=["nothing"])
    assert "| one | not logged |" in sweep_table(other, tmp_path)


def test_only_steps_that_all_seeds_have_are_averaged():
    assert over_seeds([{0: 1.0, 5: 2.0, 9: 9.0}, {0: 3.0, 5: 2.0}]) == ([0, 5], [2.0, 2.0], [2**0.5, 0.0])


def test_changes_become_settings(sweep, tmp_path):
    words = command(sweep, {"model.masks.kinds": [{"blocks": 1}], "data.val": "x.csv"}, 3, tmp_path)
    stage = ["stages.pretrain", "fit", "--config", "a.yaml"]
    run = ["--out", str(tmp_path), "--seed_everything", "3"]
    changes = ['--model.masks.kinds=[{"blocks": 1}]', "--data.val=x.csv"]
    assert words[2:] == [*stage, *run, *changes]


SWEEP = "stage: pretrain\nconfigs: [a.yaml]\nruns: {b: {}}\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("stage: pretrain", "missing: --configs, --runs"),
        ("just words", "expected the settings stage, configs"),
        ("", "expected the settings"),
        ("a: [", "not YAML"),
        ("{stage: a, configs: [c], runs: {}}", "runs is empty"),
        ("{stage: a, configs: [c], runs: [b]}", r"s\.yaml: --runs"),
        ("{stage: a, configs: [], runs: {b: {}}}", "configs is empty"),
        ("{stage: a, configs: [c], runs: {b: 3}}", r"s\.yaml: --runs"),
        ("{stage: a, configs: [c], runs: {b c: {}, b-c: {}}}", "differ only in signs"),
        (SWEEP + "seeds: []", "seeds is empty"),
        (SWEEP + "seeds: [a]", "--seeds a: a whole number is expected"),
        (SWEEP + "sedes: [1]", "there is no setting sedes; did you mean seeds"),
    ],
)
def test_what_is_no_sweep_is_refused(text, sentence, tmp_path):
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(UserError, match=sentence):
        read_sweep(tmp_path / "s.yaml")


def test_single_values_are_lists_of_one(tmp_path):
    (tmp_path / "s.yaml").write_text("{stage: pretrain, configs: a.yaml, runs: {b: {model.x: 1}}, seeds: 3}")
    sweep = read_sweep(tmp_path / "s.yaml")
    assert (sweep.configs, sweep.seeds, sweep.runs) == (["a.yaml"], [3], {"b": {"model.x": 1}})


def test_a_recipe_that_is_not_there_stops_the_sweep_before_its_first_run(tmp_path):
    (tmp_path / "s.yaml").write_text(SWEEP)
    with pytest.raises(UserError, match=r"configs names a\.yaml, and there is no such file"):
        run_sweep(tmp_path / "s.yaml", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_command_runs_what_is_missing_and_names_what_failed(clips_manifest, tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    sweep = tmp_path / "tiny.yaml"
    recipe.write_text(RECIPE.replace("MANIFEST", str(clips_manifest)))
    runs = {"a": {}, "b": {"model.optim.lr.peak": 0.01}}
    settings = {"stage": "pretrain", "configs": [str(recipe)], "runs": runs, "curves": ["train/loss"]}
    sweep.write_text(yaml.safe_dump(settings))
    run_sweep(sweep, out=tmp_path / "out", jobs=2)
    assert (tmp_path / "out" / "table.md").read_text().count("->") == 2
    assert (tmp_path / "out" / "a-seed0" / "commit.txt").read_text().strip()
    before = (tmp_path / "out" / "a-seed0" / "model.safetensors").stat().st_mtime
    runs["c"] = {"model.nonsense": 1}
    sweep.write_text(yaml.safe_dump(settings))
    with pytest.raises(UserError, match="c-seed0 failed"):
        run_sweep(sweep, out=tmp_path / "out")
    assert "nothing to do" in (tmp_path / "out" / "a-seed0" / "log.txt").read_text() and before > 0
