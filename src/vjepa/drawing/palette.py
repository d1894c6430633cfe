"""Colours. Each result keeps its colour in all pictures, so that a legend has to be read only once.

The palette is that of Okabe and Ito. People with any common form of colour blindness tell its colours apart.
"""

PALETTE = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "vermilion": "#D55E00",
    "sky": "#56B4E9",
    "purple": "#CC79A7",
    "yellow": "#F0E442",
    "black": "#000000",
}
"""Colour by name, in the order in which curves take them."""

OURS = PALETTE["blue"]
"""What was trained here."""
CONTROL = PALETTE["orange"]
"""What it is compared with: an encoder that was never trained, a predictor with wrong actions."""
CHANCE = "#767676"
"""Guessing, or changing nothing."""
TRUTH = PALETTE["vermilion"]
"""What really happened: the true action, the goal."""
RIGHT = PALETTE["green"]
"""An answer or a neighbour with the right label."""
WRONG = "#B8B8B8"
"""An answer or a neighbour with another label."""
INK = "#222222"
"""Text and lines of axes."""
PAPER = "#FFFFFF"
"""What pictures lie on."""

SEQUENTIAL = "viridis"
"""matplotlib's colour map for values from low to high; its lightness grows evenly, also in grey."""
SHARES = "Blues"
"""matplotlib's colour map for shares from 0 to 1, in which 0 is white and 1 is near `OURS`."""


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of a colour such as `#0072B2`."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue
