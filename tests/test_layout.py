"""The arrows between the rooms of the house."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = sorted((ROOT / "src/vjepa").rglob("*.py"))
STAGES = sorted((ROOT / "stages").glob("*.py"))
LONGEST = 400


def imports(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    direct = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return direct | {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}


def violations(files: list[Path], *forbidden: str) -> list[str]:
    return [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in files
        for name in imports(file)
        if any(name == word or name.startswith(word + ".") for word in forbidden)
    ]


def room(name: str) -> list[Path]:
    return [file for file in LIBRARY if name in file.parts]


def test_the_library_never_imports_a_stage():
    assert violations(LIBRARY, "stages") == []


def test_models_know_neither_lightning_nor_files():
    assert violations(room("models"), "lightning", "av", "vjepa.data", "vjepa.checkpoint", "transformers") == []


def test_data_does_not_know_models():
    assert violations(room("data"), "vjepa.models", "vjepa.masks", "vjepa.checkpoint", "transformers") == []


def test_checkpoints_are_read_without_lightning_or_transformers():
    assert violations([ROOT / "src/vjepa/checkpoint.py"], "lightning", "transformers", "vjepa.data") == []


def test_one_file_knows_transformers():
    others = [file for file in [*LIBRARY, *STAGES] if file.name != "language.py"]
    assert violations(others, "transformers", "peft", "tokenizers") == []


def test_masks_know_nothing():
    assert violations([ROOT / "src/vjepa/masks.py"], "vjepa.models", "vjepa.data", "lightning") == []


def test_the_one_import_between_stages_is_cooldown_of_pretrain():
    found = violations(STAGES, "stages")
    assert found == ["stages/cooldown.py imports stages.pretrain"]


@pytest.mark.parametrize("file", [*LIBRARY, *STAGES], ids=lambda file: file.name)
def test_a_file_is_short_and_says_what_it_is(file):
    text = file.read_text()
    assert ast.get_docstring(ast.parse(text)), f"{file} has no docstring"
    assert text.count("\n") <= LONGEST, f"{file} is longer than {LONGEST} lines: find its seam"


def test_no_unsafe_loading():
    for file in [*LIBRARY, *STAGES]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords), file
