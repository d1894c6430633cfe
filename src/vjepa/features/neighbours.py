"""Clips that look alike, and how well neighbours predict labels.

    vjepa neighbours --features FOLDER --videos MANIFEST [--picture FILE.png] [--scored FOLDER]

A table of queries and their neighbours is printed. The image is a contact sheet of the same clips. Each row
begins with the middle frame of a query clip, followed by its nearest clips; a sliding window shows the frame
at which it begins. Clips with the query's label have a green frame, others a grey one. Cosines are those of
features minus their mean over all clips. With `--scored` the accuracy of a k-NN read-out is printed: the
share of that folder's clips whose label their neighbours predict.
"""

from pathlib import Path

from vjepa.data.loose_files import read_videos
from vjepa.drawing.film import write_png
from vjepa.drawing.outputs import check_outputs
from vjepa.errors import check_positive
from vjepa.features.contact_sheet import SheetConfig, contact_sheet, neighbour_table
from vjepa.features.files import read_features, read_note
from vjepa.features.nearest import check_same_settings, knn_accuracy, nearest_clips


def neighbours(
    *,
    features: Path,
    videos: Path,
    picture: Path = Path("neighbours.png"),
    scored: Path | None = None,
    k: int = 20,
    sheet: SheetConfig = SheetConfig(),
) -> None:
    """Print the nearest clips of some queries, draw them, and print how well neighbours predict labels.

    Args:
        features: Folder written by `vjepa features`.
        videos: The manifest that it was written from.
        picture: PNG file to write.
        scored: Folder of features of other clips, for a k-NN read-out on them.
        k: Neighbours that vote.
        sheet: Size of the image.
    """
    # Before the image is drawn, which takes much longer than these checks.
    check_positive(k=k)
    check_outputs([picture], [videos])
    if scored:
        check_same_settings(features, scored)
    fitted = read_features(features)
    manifest = read_videos(videos)
    found = nearest_clips(manifest, fitted, sheet.queries, sheet.neighbours)
    print(neighbour_table(manifest, fitted, found))
    write_png(picture, contact_sheet(manifest, fitted, found, sheet.pixels))
    weights = read_note(features).get("card", "not named by the features")
    print(f"{picture} is written; weights: {weights}")

    if scored:
        accuracy = knn_accuracy(fitted, read_features(scored), k)
        clips = len(fitted.values)
        print(f"{k}-NN accuracy of {clips} clips' labels on the clips of {scored}: {accuracy:.3f}")
