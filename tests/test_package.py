"""The package as others get it: metadata, types, launch scripts, a wheel that works away from any clone."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest
import yaml

import vjepa

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LAUNCH = sorted((ROOT / "scripts/launch").glob("*.sh"))


def test_one_version_everywhere():
    stated = PROJECT["project"]["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert version("vjepa") == vjepa.__version__ == citation["version"] == stated
    assert f"## {stated}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_command_is_installed():
    (command,) = [point for point in entry_points(group="console_scripts") if point.name == "vjepa"]
    assert command.load().__module__ == "vjepa.__main__"


def test_all_extras_are_described():
    described = (ROOT / "docs/stability.md").read_text()
    assert [
        name for name in PROJECT["project"]["optional-dependencies"] if f"`{name}`" not in described
    ] == []


def test_mypy_covers_the_public_calls():
    files = set(PROJECT["tool"]["mypy"]["files"])
    public = {f"src/vjepa/{module.replace('.', '/')}.py" for module in vjepa.PUBLIC.values()}
    assert public - files == set()


@pytest.mark.slow
def test_public_modules_are_typed():
    told = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout


@pytest.mark.parametrize("script", LAUNCH, ids=lambda path: path.stem)
def test_a_launch_script_without_a_stage_says_what_to_give(script):
    told = subprocess.run([script], capture_output=True, text=True)
    assert told.returncode == 2
    assert told.stderr.startswith("error: give a stage") and told.stderr.count("\n") == 1


@pytest.mark.parametrize("script", LAUNCH, ids=lambda path: path.stem)
def test_a_launch_script_starts_the_stage_on_what_there_is(script, tmp_path):
    """Both scripts with programs in place of srun and Python that print what they were given."""
    for name in ("srun", "python"):
        (tmp_path / name).write_text('#!/bin/sh\necho "$(basename "$0") $*"\n')
        (tmp_path / name).chmod(0o755)
    slurm = {"SLURM_NNODES": "4", "SLURM_NTASKS_PER_NODE": "8"}
    there = {"NODES": "4", "GPUS": "8", "NODE": "3", "PYTHON": "python"}
    environment = os.environ | slurm | there | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    given = [script, "stages.pretrain", "fit", "--config", "a b.yaml"]
    told = subprocess.run(given, env=environment, capture_output=True, text=True, check=True)
    assert "-m stages.pretrain fit --config a b.yaml --trainer.num_nodes 4 --trainer.devices 8" in told.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from this tree without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.mark.slow
def test_the_wheel_holds_recipes_and_data(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    recipes = {f"vjepa/conf/{path.relative_to(ROOT / 'conf')}" for path in (ROOT / "conf").rglob("*.yaml")}
    library = [
        path for path in (ROOT / "src/vjepa").rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]
    assert recipes | {str(path.relative_to(ROOT / "src")) for path in library} <= inside
    assert {name.split("/")[0] for name in inside} == {
        "vjepa",
        "stages",
        f"vjepa-{vjepa.__version__}.dist-info",
    }


@pytest.mark.slow
def test_the_source_distribution_holds_what_builds_it(wheel):
    (source,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "conf/pretrain.yaml", "src/vjepa/py.typed"} <= inside


@pytest.mark.slow
def test_the_installed_wheel_runs_away_from_the_clone(wheel, tmp_path):
    target = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(target)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def run(*words: str) -> str:
        command = [sys.executable, *words]
        # The wheel comes before this tree on the path.
        environment = os.environ | {"PYTHONPATH": str(target)}
        told = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True)
        assert told.returncode == 0, told.stderr
        return told.stdout

    where = "import vjepa, stages; from vjepa.command.recipes import recipe_folder; "
    places = run("-c", where + "print(vjepa.__file__, stages.__file__, recipe_folder())").split()
    assert all(place.startswith(str(target)) for place in places)
    assert "look" in run("-m", "vjepa", "--help")
    assert re.search(r"--scale\b", run("-m", "vjepa", "fit", "pretrain", "--help"))
    assert "usage" in run("-m", "vjepa", "look", "--help")
    assert "max_steps: 2000" in run(
        "-m", "stages.pretrain", "fit", "--config", f"{target}/vjepa/conf/pretrain.yaml", "--print_config"
    )
