"""What Meta's files leave unsaid, and no tensor shows: heads and levels, of published sizes or given.

    heads_of(1024, 24, Path("vitl.pt"))     # 16

Of a published size, a line on stderr says what is taken, unless the file has a published name. Of any other
nothing is taken, since the wrong number would give other features without an error.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vjepa.errors import announce, require
from vjepa.weights.files import CheckpointError
from vjepa.weights.released import HEADS, LEVELS, released_file

SAY_HEADS = (
    "pass heads= in Python, or convert the file once (vjepa weights convert FILE --to vjepa --out NEW "
    "--unsaid.heads N --unsaid.predictor_heads M)"
)
SAY_LEVELS = "pass levels= in Python, or convert the file once with --unsaid.levels"
PREDICTOR_HEADS = {384: 12}
"""Heads of predictors of masked tokens by width."""
AC_PREDICTOR_HEADS = {1024: 16}
"""Those of predictors of what actions do."""
PROBE_HEADS = dict.fromkeys((768, 1024, 1280, 1408, 1664), 16)
"""Those of probes by the width of the tokens that they read, which is a published encoder's."""
MOST_HEADS = 1024


def check_said(heads: Any, levels: Any = None) -> None:
    """Raise UserError for heads or levels that no network has; None stands for what is not given."""
    known = heads is None or (type(heads) is int and 0 < heads <= MOST_HEADS)
    require(known, f"heads={repr(heads)[:80]}: give a whole number from 1 to {MOST_HEADS}, or leave it out")
    listed = isinstance(levels, tuple | list) and len(levels) > 0
    blocks = listed and all(type(level) is int and level >= 0 for level in levels)
    require(
        levels is None or blocks,
        f"levels={repr(levels)[:80]}: give numbers of blocks, such as (5, 11, 17, 23), or leave it out",
    )


def heads_of(width: int, depth: int, source: Path) -> int:
    """The heads of an encoder. Raises CheckpointError if no published encoder is so wide."""
    model = released_file(source)
    named = model is not None and model.encoder == (width, depth)
    return usual_heads(HEADS, width, source, "encoder", named)


def predictor_heads_of(width: int, encoder_width: int, source: Path) -> int:
    """Those of a predictor of masked tokens, likewise. encoder_width: Of the tokens that it reads."""
    return usual_heads(PREDICTOR_HEADS, width, source, "predictor", is_named(source, encoder_width))


def ac_predictor_heads_of(width: int, encoder_width: int, source: Path) -> int:
    """Those of a predictor of what actions do, likewise."""
    return usual_heads(AC_PREDICTOR_HEADS, width, source, "ac_predictor", is_named(source, encoder_width))


def probe_heads_of(width: int, source: Path) -> int:
    """Those of a probe, likewise."""
    return usual_heads(PROBE_HEADS, width, source, "probe", is_named(source, width))


def is_named(source: Path, encoder_width: int) -> bool:
    """Whether a file has the name of a published one whose encoder is so wide."""
    model = released_file(source)
    return model is not None and model.encoder[0] == encoder_width


def usual_heads(usual: Mapping[int, int], width: int, source: Path, part: str, named: bool) -> int:
    """The heads at a width, with a line on stderr unless the file is `named` as a published one.

    Raises CheckpointError if nobody has published such a part of that width.
    """
    if width not in usual:
        raise CheckpointError(
            f"{source}: width {width} is not a published {part}'s, so its heads are unknown; {SAY_HEADS}"
        )
    if not named:
        announce(
            f"{source} does not say the heads of its {part}; {usual[width]} are taken, as is usual at width "
            f"{width} (load_{part} takes heads=)"
        )
    return usual[width]


def levels_of(depth: int, norms: int, source: Path) -> tuple[int, ...]:
    """The blocks of an encoder's levels, of which a file shows the number alone.

    Raises CheckpointError if no published encoder is like that.
    """
    known = LEVELS.get(depth, ())
    if norms not in (depth, len(known)):
        raise CheckpointError(
            f"{source}: no published network of V-JEPA 2.1 has {depth} blocks and {norms} levels, so it is "
            f"unknown which blocks they are; {SAY_LEVELS}"
        )
    if norms < depth and not released_file(source):
        blocks = ", ".join(map(str, known))
        announce(
            f"{source} does not say which blocks its levels are; {blocks} are taken, as in the published "
            f"network of {depth} blocks (load_encoder takes levels=)"
        )
    return tuple(range(depth)) if norms == depth else known
