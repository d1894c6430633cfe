"""Turns frames upright: phones store them sideways, with a display matrix that tells players to turn them."""

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer, Type
from jaxtyping import UInt8

Matrix = tuple[tuple[int, int], tuple[int, int]]
"""((a, b), (c, d)): the stored pixel (x, y) is displayed at (a x + c y, b x + d y), up to a shift and a
scale."""

QUARTER_TURNS: tuple[Matrix, ...] = (
    ((1, 0), (0, 1)),
    ((0, -1), (1, 0)),
    ((-1, 0), (0, -1)),
    ((0, 1), (-1, 0)),
)
"""Turns by 0, 90, 180 and 270 degrees, counter-clockwise."""

WITH_PROFILE = ("png", "apng")
"""Codecs whose frames may have a colour profile with a name. PyAV 18 frees that name twice, which ends the
process, wherever it lists the side data of such a frame."""


def display_matrix(frame: av.VideoFrame, codec: str) -> Matrix:
    """How a player displays a frame that `codec` decoded."""
    if codec in WITH_PROFILE:
        return quarter_turn(frame)
    try:
        # Not `frame.side_data`: its reference cycle would keep the image until a garbage collection.
        matrix = SideDataContainer(frame).get(Type.DISPLAYMATRIX)
    except ValueError:
        # PyAV 18 cannot list side data of a kind newer than itself, such as EXIF.
        return quarter_turn(frame)

    if matrix is None:
        return QUARTER_TURNS[0]
    # Nine fixed-point numbers, a b u c d v x y w: u and v are 0, x and y the shift, w the scale.
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    return (a, b), (c, d)


def quarter_turn(frame: av.VideoFrame) -> Matrix:
    """The turn alone, for which PyAV lists no side data; mirroring is lost."""
    return QUARTER_TURNS[round(frame.rotation / 90) % 4]


def is_sideways(matrix: Matrix) -> bool:
    """Whether width and height are exchanged in display."""
    (a, b), _ = matrix
    return abs(b) > abs(a)


def upright(rgb: UInt8[np.ndarray, "h0 w0 c"], matrix: Matrix) -> UInt8[np.ndarray, "h w c"]:
    """A view of the stored pixels, turned and mirrored by the quarter turn nearest to `matrix`."""
    (a, b), (c, d) = matrix
    if is_sideways(matrix):
        rgb = rgb.transpose(1, 0, 2)  # from here on only mirroring is left
        a = c
        d = b
    return rgb[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
