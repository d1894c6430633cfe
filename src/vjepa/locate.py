"""Where a relative path of a recipe points: the working directory, else the clone that is installed."""

from pathlib import Path

CLONE = Path(__file__).parents[2]


def locate(path: str | Path) -> Path:
    """`path` as given if it exists (or is absolute), else the same path inside the clone, so that recipes work from any
    working directory once `pip install -e` has run."""
    given = Path(path)
    return given if given.is_absolute() or given.exists() or not (CLONE / given).exists() else CLONE / given
