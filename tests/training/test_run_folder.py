"""The folder of a run: the version of the code that it writes down."""

import subprocess
from importlib.metadata import version

from vjepa.training import run_folder
from vjepa.training.run_folder import commit


def repository(folder, file: str) -> str:
    """Make a repository with one committed file, and return the commit."""
    (folder / file).write_text("")
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    for words in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    done = subprocess.run(["git", "describe", "--always"], cwd=folder, capture_output=True, text=True)
    return done.stdout.strip()


def test_the_commit_is_that_of_our_own_code(tmp_path, monkeypatch):
    first = repository(tmp_path, "run_folder.py")
    monkeypatch.setattr(run_folder, "__file__", str(tmp_path / "run_folder.py"))
    assert commit() == first
    (tmp_path / "run_folder.py").write_text("changed")
    assert commit() == f"{first}-dirty"


def test_another_repository_around_the_package_says_nothing_of_it(tmp_path, monkeypatch):
    repository(tmp_path, "users.py")
    packages = tmp_path / "site-packages"
    packages.mkdir()
    monkeypatch.setattr(run_folder, "__file__", str(packages / "run_folder.py"))
    assert commit() == version("vjepa")


def test_outside_any_repository_it_is_the_version(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "__file__", str(tmp_path / "run_folder.py"))
    assert commit() == version("vjepa")
