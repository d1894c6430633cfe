"""Clips that look alike: nearest neighbours among features, and what they say about labels.

    python -m vjepa neighbours --features FOLDER --videos MANIFEST [--picture neighbours.png]

The picture is a contact sheet: a query per row, its middle frame first, then its nearest clips; of sliding windows, the frame
at which they begin. Clips of the same label have a green frame, others a grey one. With `--scored` a k-NN read-out is printed:
the share of that folder's clips whose label most neighbours share.
"""

from pathlib import Path

from vjepa.data.video_files import write_png
from vjepa.features.contact_sheet import Sheet, contact_sheet
from vjepa.features.extraction import listed
from vjepa.features.files import read_features
from vjepa.features.nearest import (
    check_kind,
    knn_accuracy,
)


def neighbours(
    *,
    features: Path,
    videos: Path,
    picture: Path = Path("neighbours.png"),
    scored: Path | None = None,
    k: int = 20,
    sheet: Sheet = Sheet(),
) -> None:
    """Draw the contact sheet, and tell how well neighbours know labels.

    Args:
        features: Folder written by `python -m vjepa features`.
        videos: The manifest that it was written from.
        picture: File to write, a PNG.
        scored: Folder of features of other clips, for a k-NN read-out on them.
        k: Neighbours that vote.
        sheet: Size of the picture.
    """
    if scored:
        check_kind(features, scored)
    found = read_features(features)
    picture.parent.mkdir(parents=True, exist_ok=True)
    write_png(picture, contact_sheet(listed(videos), found, sheet))
    print(f"{picture} is written")
    if scored:
        print(f"{k}-NN accuracy of {len(found.values)} clips' labels on the clips of {scored}: "
              f"{knn_accuracy(found, read_features(scored), k):.3f}")  # fmt: skip
