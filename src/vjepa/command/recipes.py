"""Where the recipes (`conf/`) are: inside the installed package, or in the repository beside `src`."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def recipe_folder() -> Path:
    """The folder of the recipes."""
    packaged = PACKAGE / "conf"
    return packaged if packaged.is_dir() else PACKAGE.parents[1] / "conf"
