"""Recipes that were written before the classes moved into rooms still name them."""

from importlib import import_module

import lightning as L
import pytest
import yaml

from stages.pretrain import Pretrain
from tests.test_conf import Parsed
from vjepa.data.clip_data import ClipData
from vjepa.errors import UserError
from vjepa.training.moved import MOVED, accept_old_names, current_names
from vjepa.training.run_folder import RunFolder

RECIPE = {
    "data": {"train": [{"manifest": "clips.csv"}]},
    "trainer": {
        "max_steps": 6,
        "callbacks": [
            {"class_path": "vjepa.callbacks.CollapseMonitor"},
            {"class_path": "vjepa.pictures.Pictures", "init_args": {"every": 500}},
        ],
    },
}


@pytest.mark.parametrize("name", MOVED.values())
def test_a_class_is_where_the_table_says(name):
    module, _, cls = name.rpartition(".")
    assert issubclass(getattr(import_module(module), cls), L.Callback)


def test_a_users_yaml_may_name_the_old_path(tmp_path):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    accept_old_names()
    args = ["fit", "--config", str(tmp_path / "recipe.yaml")]
    callbacks = Parsed(
        Pretrain, ClipData, args=args, seed_everything_default=0, save_config_callback=None
    ).config.fit.trainer.callbacks
    expected = [MOVED["vjepa.callbacks.CollapseMonitor"], MOVED["vjepa.pictures.Pictures"]]
    assert [callback.class_path for callback in callbacks] == expected
    assert callbacks[1].init_args.every == 500


def test_an_old_run_is_one_of_todays_recipe(tmp_path):
    folder = RunFolder(tmp_path)
    folder.recipe.write_text(yaml.safe_dump(RECIPE))
    folder.export.touch()  # the run is finished
    folder.check_recipe(current_names(RECIPE))
    changed = current_names(RECIPE)
    changed["trainer"]["callbacks"][1]["init_args"]["every"] = 100  # a monitor only watches
    folder.check_recipe(changed)
    changed["trainer"]["max_steps"] = 7
    with pytest.raises(UserError, match=r"another recipe \(trainer\.max_steps: 6 -> 7\)"):
        folder.check_recipe(changed)
