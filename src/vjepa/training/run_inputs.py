"""What a run was given besides its settings: the weights that it starts from, and its data.

    runs/demo/cooldown/inputs.json
    {"weights": {"init_from": "0c7a..."}, "data": {"train.0": {"source": "mine", "count": 4, ...}}}

A run belongs to its inputs as it belongs to its recipe: a folder to which videos were added, or weights that
were trained anew under the same name, make another run.
"""

import json
from pathlib import Path

import yaml

from vjepa.data.digest import DataDigest
from vjepa.errors import require
from vjepa.weights.checkpoints import checkpoint_in
from vjepa.weights.files import digest

INSTEAD = "choose another --out (RUN= with make, --run with vjepa fit), or remove that folder to train anew"


class RunInputs:
    """Reads, compares and writes the inputs of a run. Runs of older versions have recorded less."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "inputs.json"

    @property
    def weights(self) -> dict[str, str]:
        """The digest of each file that the run started from, by the setting of `model` that names it."""
        if self.file.exists():
            return self.read("weights")
        recipe = self.folder / "config.yaml"  # which held them up to version 0.2
        return (yaml.safe_load(recipe.read_text()) or {}).get("digest", {}) if recipe.exists() else {}

    @property
    def data(self) -> dict[str, DataDigest]:
        """What each source of the data was, by the setting of `data` that names it."""
        return {name: DataDigest(**fields) for name, fields in self.read("data").items()}

    def read(self, part: str) -> dict:
        return json.loads(self.file.read_text()).get(part, {}) if self.file.exists() else {}

    def check_weights(self, now: dict[str, str]) -> None:
        """Raise UserError if a file that the run started from has another content today."""
        for name, before in self.weights.items():
            require(
                now.get(name, before) == before,
                f"{self.folder} was started from other weights: the file of model.{name} was written anew "
                f"since then; {INSTEAD}",
            )

    def check_data(self, now: dict[str, DataDigest]) -> None:
        """Raise UserError if the data of the run are others today."""
        for name, before in self.data.items():
            change = data_change(before, now.get(name, before))
            what = f"{before.count:,} {before.unit} of {before.source} (data.{name})"
            require(
                not change,
                f"{self.folder} was run with {what}; {change}; put the data back as they were, {INSTEAD}",
            )

    def write(self, weights: dict[str, str], data: dict[str, DataDigest]) -> None:
        """Record what the run is given."""
        record = {"weights": weights, "data": {name: source._asdict() for name, source in data.items()}}
        self.file.write_text(json.dumps(record, indent=1) + "\n")


def data_change(before: DataDigest, now: DataDigest) -> str | None:
    """What has changed in a source, in words; None if it is the same."""
    more = now.count - before.count
    if more:
        return f"{now.count:,} are there now ({abs(more):,} {'more' if more > 0 else 'fewer'})"
    if now.rows != before.rows:
        return "there are as many now, but other ones, or with other labels or segments"
    if now.files != before.files:
        return "the files have the same names now, but another content"
    return None


def weights_digests(model: dict) -> dict[str, str]:
    """Digests of the files that a stage starts from. They change when an earlier stage is trained again."""
    # Strings are files of another stage; `encoder` may also be the settings of a new network.
    sources = {key: model.get(key) for key in ("init_from", "encoder")}
    return {key: digest_of(source) for key, source in sources.items() if isinstance(source, str)}


def digest_of(source: str) -> str:
    """The digest of the file that `source` leads to; `folder` for a Hugging Face directory."""
    path = checkpoint_in(source)
    return "folder" if path.is_dir() else digest(path)
