"""What a run was given besides its settings: its stage, the weights that it starts from, and its data.

    runs/demo/cooldown/inputs.json
    {"stage": "cooldown", "weights": {"init_from": "0c7a..."}, "data": {"train.0": {"source": "mine", ...}}}

A run belongs to its inputs as it belongs to its recipe: a folder to which videos were added, or weights that
were trained anew under the same name, make another run. Where they lie makes no difference.
"""

import json
from pathlib import Path
from typing import NamedTuple

import yaml

from vjepa.command.yaml_text import load_yaml
from vjepa.data.digest import DataDigest, files_digest
from vjepa.drawing.outputs import complete_file
from vjepa.errors import UserError, require
from vjepa.weights.checkpoints import checkpoint_in
from vjepa.weights.files import DAMAGES, CheckpointError, digest
from vjepa.weights.huggingface import hf_files

INSTEAD = "choose another --out (RUN= with make, --run with vjepa fit), or remove that folder to train anew"
UNKNOWN = "folder"
"""What early runs recorded for a Hugging Face directory instead of a digest."""


class Record(NamedTuple):
    """The content of `inputs.json`."""

    stage: str | None
    weights: dict[str, str]
    """The digest of each file that the run started from, by the setting of `model` that names it."""
    data: dict[str, DataDigest]
    """What each source of the data was, by the setting of `data` that names it."""


class RunInputs:
    """Reads, compares and writes the inputs of a run. Runs of older versions have recorded less.

    stage: The stage that asks; None if any may.
    """

    def __init__(self, folder: Path, stage: str | None = None) -> None:
        self.folder = folder
        self.stage = stage
        self.file = folder / "inputs.json"

    @property
    def record(self) -> Record:
        """Raises UserError if the file is damaged."""
        if not self.file.exists():
            recipe = self.folder / "config.yaml"  # which held digests of weights up to version 0.2
            weights = read_recipe(recipe).get("digest") if recipe.exists() else None
            return Record(None, weights or {}, {})
        try:
            return parsed_record(json.loads(self.file.read_text()))
        except (*DAMAGES, OSError) as error:
            what = f"cannot be read ({error.strerror})" if isinstance(error, OSError) else "is damaged"
            raise UserError(
                f"{self.file} {what}; remove it, and the run goes on without a comparison of its data"
            ) from error

    @property
    def weights(self) -> dict[str, str]:
        return self.record.weights

    @property
    def data(self) -> dict[str, DataDigest]:
        return self.record.data

    @property
    def places(self) -> set[str]:
        """The settings that say where an input lies whose content is recorded."""
        weights, data = self.record[1:]
        known = {f"model.{name}" for name, digest in weights.items() if digest != UNKNOWN}
        known |= {f"data.{name}{field}" for name in data for field in ("", ".manifest", ".folder", ".file")}
        return known | ({"data.videos"} if data else set())  # the folder of the videos that annotations name

    def check_stage(self) -> None:
        """Raise UserError if another stage began this run."""
        before = self.record.stage or self.stage
        require(
            self.stage in (None, before),
            f"{self.folder} holds a run of the stage {before}, and this is {self.stage}; {INSTEAD}",
        )

    def check_weights(self, now: dict[str, str]) -> None:
        """Raise UserError if a file that the run started from has another content today."""
        for name, before in self.weights.items():
            require(
                before == UNKNOWN or now.get(name, before) == before,
                f"{self.folder} was started from other weights: model.{name} named another file then, or the "
                f"file was written anew since; {INSTEAD}",
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
        named = {name: source._asdict() for name, source in data.items()}
        with complete_file(self.file) as unfinished:
            unfinished.write_text(json.dumps(Record(self.stage, weights, named)._asdict(), indent=1) + "\n")


def parsed_record(fields: dict) -> Record:
    """The record in a file's content. What a newer version has added is passed over."""
    data = {name: parsed_source(source) for name, source in fields["data"].items()}
    return Record(fields.get("stage"), dict(fields["weights"]), data)


def parsed_source(fields: dict) -> DataDigest:
    source = DataDigest(**{key: fields[key] for key in DataDigest._fields if key in fields})
    return source._replace(count=int(source.count))


def read_recipe(file: Path) -> dict:
    """The settings in a run's `config.yaml`. Raises UserError if it is damaged or cannot be read."""
    what = "is empty or damaged"
    try:
        recipe = load_yaml(file.read_text())
    except OSError as error:
        recipe = None
        what = f"cannot be read ({error.strerror})"
    except (*DAMAGES, yaml.YAMLError):
        recipe = None
    require(
        isinstance(recipe, dict),
        f"{file} {what}, so nothing tells the recipe of this run; put it back, or choose another --out",
    )
    return recipe


def data_change(before: DataDigest, now: DataDigest) -> str | None:
    """What has changed in a source, in words; None if it is the same."""
    more = now.count - before.count
    if more:
        return f"{now.count:,} are there now ({abs(more):,} {'more' if more > 0 else 'fewer'})"
    if now.rows != before.rows:
        return "there are as many now, but other ones, or with other labels or segments"
    if now.files != before.files:
        if now.unreadable not in ("", before.unreadable):
            return f"{now.unreadable} is missing now, or cannot be read"
        return "the files have the same names now, but one or more have another content"
    return None


def weights_digests(model: dict, may_be_gone: bool = False) -> dict[str, str]:
    """Digests of the files that a stage starts from. They change when an earlier stage is trained again.

    may_be_gone: Leave out a file that is gone; else CheckpointError is raised.
    """
    digests = {}
    for key in ("init_from", "encoder", "teacher", "ac"):
        try:
            # Strings are files of another stage; `encoder` may also be the settings of a new network.
            digests |= {key: digest_of(model[key])} if isinstance(model.get(key), str) else {}
        except CheckpointError:
            if not may_be_gone:
                raise
    return digests


def digest_of(source: str) -> str:
    """The digest of the file that `source` leads to; for a Hugging Face directory, that of its files."""
    path = checkpoint_in(source)
    if path.is_dir():
        return files_digest([path / "config.json", *hf_files(path)])[0]
    return digest(path)
