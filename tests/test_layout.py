"""The house: which rooms there are, which room may use which, and how long a file may be."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import vjepa

ROOT = Path(__file__).parents[1]
LIBRARY = sorted((ROOT / "src/vjepa").rglob("*.py"))
STAGES = sorted((ROOT / "stages").glob("*.py"))

# A room may import the rooms after its name, itself, and the modules at the root.
ARROWS = {
    "command": (),
    "drawing": (),
    "models": (),
    "objectives": ("models",),
    "weights": ("models",),
    "data": ("drawing",),
    "robots": ("data", "drawing"),
    "evaluation": ("models", "weights", "data", "robots", "objectives", "drawing"),
    "features": ("models", "weights", "data", "objectives", "evaluation", "drawing"),
    "planning": ("models", "weights", "data", "robots", "drawing"),
    "language": ("models", "weights", "data", "drawing"),
    "benchmarks": ("evaluation", "language", "data", "robots", "models", "planning", "drawing"),
    "training": (
        *("models", "objectives", "weights", "data", "robots", "evaluation", "features"),
        *("command", "drawing"),
    ),
    "sim": (
        *("planning", "robots", "training", "features", "evaluation", "data", "weights", "models"),
        *("drawing",),
    ),
}
AT_THE_ROOT = {"__init__.py", "__main__.py", "errors.py", "loading.py", "torchvision_ops.py", "py.typed"}
LIGHT_ROOMS = ("models", "objectives", "planning")
"""Rooms that import neither lightning nor av nor mujoco, and none that does."""


def imports(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    direct = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    submodules = {f"vjepa.{alias.name}" for node in froms if node.module == "vjepa" for alias in node.names}
    return direct | submodules | {node.module for node in froms}


def imports_any(file: Path, *forbidden: str) -> list[str]:
    return [
        f"{file.relative_to(ROOT)} imports {name}"
        for name in sorted(imports(file))
        if any(name == word or name.startswith(word + ".") for word in forbidden)
    ]


def room_of(file: Path) -> str:
    return file.relative_to(ROOT / "src/vjepa").parts[0]


def test_the_root_holds_rooms_and_nothing_else():
    inside = {path.name for path in (ROOT / "src/vjepa").iterdir() if path.name != "__pycache__"}
    assert inside - AT_THE_ROOT == set(ARROWS)


@pytest.mark.parametrize("room", ARROWS)
def test_a_room_uses_only_the_rooms_below_it(room):
    others = [f"vjepa.{other}" for other in ARROWS if other not in (room, *ARROWS[room])]
    files = [file for file in LIBRARY if room_of(file) == room]
    assert [found for file in files for found in imports_any(file, *others, "stages", "scripts")] == []


def test_the_package_map_names_every_room():
    lines = vjepa.__doc__.splitlines()
    assert [room for room in ARROWS if not any(line.startswith(f"{room} ") for line in lines)] == []


def test_the_map_of_every_room_names_every_module():
    for init in (
        file for file in LIBRARY if file.name == "__init__.py" and file.parent != ROOT / "src/vjepa"
    ):
        names = {path.stem for path in init.parent.iterdir()} - {"__init__", "__pycache__"}
        # A module has a line of its own, or stands in backticks in the line of another.
        mapped = re.findall(
            r"^\w+|(?<=`)\w+(?=`)", ast.get_docstring(ast.parse(init.read_text())), re.MULTILINE
        )
        assert names - set(mapped) == set(), f"{init} names every module of its room in its docstring"


@pytest.mark.parametrize("room", LIGHT_ROOMS)
def test_light_rooms_need_neither_lightning_nor_video_nor_simulator(room):
    modules = [
        ".".join(file.relative_to(ROOT / "src").with_suffix("").parts)
        for file in LIBRARY
        if room_of(file) == room
    ]
    heavy = ("lightning", "av", "mujoco", "transformers")
    code = f"import {', '.join(modules)}, sys; print([name for name in {heavy} if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_transformers_stay_with_language_and_the_hugging_face_bridge():
    allowed = [file for file in LIBRARY if room_of(file) == "language" or file.stem == "huggingface"]
    others = [file for file in [*LIBRARY, *STAGES] if file not in allowed]
    assert [
        found for file in others for found in imports_any(file, "transformers", "peft", "tokenizers")
    ] == []


def test_mujoco_stays_in_the_simulator():
    others = [file for file in [*LIBRARY, *STAGES] if "sim" not in file.parts]
    assert [found for file in others for found in imports_any(file, "mujoco")] == []


def test_cooldown_and_distillation_alone_import_another_stage():
    found = [line for file in STAGES for line in imports_any(file, "stages")]
    assert found == [f"stages/{name}.py imports stages.pretrain" for name in ("cooldown", "distil")]


@pytest.mark.parametrize("file", [*LIBRARY, *STAGES], ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_is_short_and_says_what_it_is(file):
    text = file.read_text()
    longest = 150 if file in STAGES else 250
    assert ast.get_docstring(ast.parse(text)), f"{file} has no docstring"
    assert text.count("\n") <= longest, f"{file} is longer than {longest} lines: find its seam"


def test_importing_the_package_is_cheap():
    heavy = ("torch", "transformers", "lightning", "mujoco")
    code = f"import vjepa, sys; print([name for name in {heavy} if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


@pytest.mark.parametrize("name", vjepa.PUBLIC)
def test_every_public_call_is_there(name):
    assert getattr(vjepa, name).__name__ == name
    assert getattr(vjepa, name).__doc__


def test_a_name_that_is_not_public_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'load_nothing'"):
        vjepa.load_nothing  # noqa: B018


def definitions(kind: type) -> dict[str, list[str]]:
    """Where each top-level class or function of the library and the stages is defined."""
    places: dict[str, list[str]] = {}
    for file in [*LIBRARY, *STAGES]:
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, kind):
                places.setdefault(node.name, []).append(str(file.relative_to(ROOT)))
    return places


def test_no_two_classes_have_one_name():
    assert {name: files for name, files in definitions(ast.ClassDef).items() if len(files) > 1} == {}


def test_no_three_modules_have_one_name():
    stems = [file.stem for file in [*LIBRARY, *STAGES] if file.stem != "__init__"]
    assert [stem for stem in set(stems) if stems.count(stem) > 2] == []


def test_one_place_parses_the_commands():
    blocks = [file for file in LIBRARY if "__name__ ==" in file.read_text() and file.name != "__main__.py"]
    assert blocks == []


def test_a_training_step_reads_like_its_equation():
    for file in STAGES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name == "training_step":
                assert node.end_lineno - node.lineno <= 12, file


def test_the_makefile_is_one_page():
    assert len((ROOT / "Makefile").read_text().splitlines()) <= 100


def test_no_unsafe_loading():
    for file in [*LIBRARY, *STAGES]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert any(
                    k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords
                ), file
