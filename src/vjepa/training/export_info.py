"""What an export says of its training, beside its stage, steps and seed: data, licence, commit, scores."""

import json

from vjepa.data.module import ResumableData
from vjepa.evaluation.decoding_report import exported_scores
from vjepa.training.run_folder import RunFolder, commit


def training_facts(data: ResumableData, folder: RunFolder, licence: str | None) -> dict:
    """The clip and the digest of the training data, the licence, the commit, and the scores of the test."""
    return {**data.trained_on(), "licence": licence, "commit": commit(), "scores": scores_in(folder)}


def scores_in(folder: RunFolder) -> dict[str, float]:
    """The scores that a stage's test has written: of a probe by row, of an AC predictor by horizon."""
    scores = folder.path / "scores.json"
    horizons = folder.path / "horizons.json"
    decoding = folder.path / "decoding.json"
    if scores.exists():
        rows = json.loads(scores.read_text())
        # Anticipation has several numbers a row; its own file holds them.
        return {row["name"]: row["value"] for row in rows if "value" in row}
    if horizons.exists():
        errors = json.loads(horizons.read_text())["errors"]
        return {f"{row}, {k} ahead": curve[k - 1] for row, curve in errors.items() for k in (1, len(curve))}
    return exported_scores(json.loads(decoding.read_text())["scores"]) if decoding.exists() else {}
