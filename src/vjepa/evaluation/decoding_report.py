"""The report of decoded pictures: tables, and the file `decoding.json` after a test."""

import json
from math import isfinite
from pathlib import Path

from vjepa.evaluation.decoding_scores import CHANGED, Curves
from vjepa.evaluation.tables import text_table

FILE = "decoding.json"
REGION_NAMES = {
    "picture": "the whole picture",
    "moving": f"pixels that have changed by more than {CHANGED} since the first frame",
    "hand": "the mask of the hand and of objects that it moved",
}
MEASURE_NAMES = {"psnr": "PSNR in dB", "ssim": "SSIM", "error": "mean |difference| of colours from 0 to 1"}
FORMATS = {"psnr": ".2f", "ssim": ".3f", "error": ".4f"}


def masked_region(curves: Curves) -> str:
    """The narrowest region that was scored: the hand's, or what moves in data without a simulator."""
    regions = next(iter(curves.values()))
    return next(region for region in ("hand", "moving", "picture") if region in regions)


def decoding_tables(curves: Curves, windows: int) -> str:
    """PSNR and SSIM of the whole picture, and the error inside the mask; one column for each horizon."""
    inside = masked_region(curves)
    shown = (("psnr", "picture"), ("ssim", "picture"), ("error", inside))
    tables = [measure_table(curves, measure, region) for measure, region in shown]
    return "\n".join([f"decoded pictures of {windows} held-out windows", *tables])


def measure_table(curves: Curves, measure: str, region: str) -> str:
    """One row for each comparison."""
    rows = {name: regions[region][measure] for name, regions in curves.items() if region in regions}
    horizons = range(1, 1 + max(map(len, rows.values())))
    cells = [(name, *(cell(value, FORMATS[measure]) for value in row)) for name, row in rows.items()]
    caption = f"{MEASURE_NAMES[measure]}, {REGION_NAMES[region]}"
    header = ("actions ahead", *map(str, horizons))
    return text_table(caption, [header, *cells], ("<28", *(">8" for _ in horizons)))


def cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def write_decoding(curves: Curves, windows: int, out: Path) -> None:
    """Write `decoding.json` to the folder, and print the tables."""
    content = {"windows": windows, "changed": CHANGED, "scores": as_json(curves)}
    (out / FILE).write_text(json.dumps(content, indent=1))
    print(decoding_tables(curves, windows))


def as_json(value: object) -> object:
    """The same with null for the infinite ratio of equal pictures, which JSON cannot write."""
    if isinstance(value, dict):
        return {key: as_json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [as_json(inner) for inner in value]
    return value if not isinstance(value, float) or isfinite(value) else None


def exported_scores(scores: Curves) -> dict[str, float]:
    """The numbers of a report that an export names. scores: As `decoding.json` holds them."""
    inside = masked_region(scores)
    decoded = scores["decoded beside real"]["picture"]
    found = {"PSNR of decoding, dB": decoded["psnr"][0], "SSIM of decoding": decoded["ssim"][0]}
    for name in ("decoded", "imagined", "persistence"):
        errors = scores.get(f"{name} beside real", {}).get(inside, {}).get("error", [])
        found |= {f"masked error, {name}, {k} on": errors[k - 1] for k in (1, len(errors)) if errors}
    return {name: value for name, value in found.items() if value is not None}


def closing_score(scores: Curves) -> str:
    """One line: how well frames are decoded, and how far the last imagined one is from the truth."""
    inside = masked_region(scores)
    errors = {name: regions[inside]["error"] for name, regions in scores.items() if inside in regions}
    last = {name: errors.get(f"{name} beside real", [None])[-1] for name in ("imagined", "persistence")}
    told = ", ".join(f"{name} {value:.3f}" for name, value in last.items() if value is not None)
    ahead = len(errors["decoded beside real"])
    ratio = scores["decoded beside real"]["picture"]["psnr"][0]
    return f"PSNR of decoding {cell(ratio, '.1f')} dB; error inside the mask {ahead} actions ahead: {told}"
