"""The published models as a table: what their files do not say, by the files' names.

    released_file("downloads/vitl.pt").heads      # 16
    vjepa weights released

A file holds tensors and no settings, so heads, levels and clips follow from its published name, or are given.
None stands for what is not published, or what nobody here has seen. Sources: README and hub entries of the
public code, the two papers, and the names of the models on Hugging Face's hub.
"""

from pathlib import Path
from typing import NamedTuple

ADDRESS = "https://dl.fbaipublicfiles.com/vjepa2"
"""Where Meta publishes the files."""
PROBES = "evals/"
"""Folder of the probes below it."""
HUB = "facebook/vjepa2-vit"
"""How the names of all models on the hub begin."""
APACHE = "Apache-2.0, by its card on the hub"
LEVELS = {12: (2, 5, 8, 11), 24: (5, 11, 17, 23), 40: (9, 19, 29, 39), 48: (11, 23, 37, 47)}
"""Blocks of V-JEPA 2.1's levels, by depth. Those of depth 48 are the code's, which made the weights; the
paper has 35 instead of 37."""
HEADS = {384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 22, 1664: 26}
"""Heads of encoders by width: of the published ones, and of the usual small one."""

B = (768, 12)
L = (1024, 24)
H = (1280, 32)
G = (1408, 40)
"""Width and depth of ViT-B, ViT-L, ViT-H, ViT-g."""
GIGANTIC = (1664, 48)
"""Those of ViT-G."""


class Released(NamedTuple):
    """One published file."""

    file: str
    """Its name, in which `vitg` and `vitG` are two models."""
    holds: str
    """Which networks: `V-JEPA 2`, `V-JEPA 2.1`, `V-JEPA 2-AC`, or a probe and what it names."""
    encoder: tuple[int, int]
    """Width and depth of its encoder, or of that whose tokens its probe reads."""
    size: int
    """Height and width of the frames, pixels."""
    frames: int | None = None
    """Frames of a clip."""
    hub: str | None = None
    """The same model on Hugging Face's hub; of a probe, the model that holds it and its encoder."""
    folder: str = ""
    """Where it lies below ADDRESS."""
    licence: str | None = None
    file_bytes: int | None = None
    digest: str | None = None
    """SHA-256, hexadecimal."""

    @property
    def address(self) -> str:
        return f"{ADDRESS}/{self.folder}{self.file}"

    @property
    def heads(self) -> int:
        """Attention heads of its encoder; every published probe has 16."""
        return HEADS[self.encoder[0]]

    @property
    def levels(self) -> tuple[int, ...]:
        """Blocks of the encoder's levels; empty where there are none."""
        return LEVELS[self.encoder[1]] if self.holds == "V-JEPA 2.1" else ()

    @property
    def rope(self) -> str:
        """Layout of the rotary positions, as `EncoderConfig.rope` names it."""
        return "interleaved" if self.holds == "V-JEPA 2.1" else "released"

    @property
    def clip(self) -> str:
        """The clips, as text."""
        return f"{self.frames or '?'} frames, {self.size} px"


RELEASED = (
    Released("vitl.pt", "V-JEPA 2", L, 256, 64, f"{HUB}l-fpc64-256"),
    Released("vith.pt", "V-JEPA 2", H, 256, 64, f"{HUB}h-fpc64-256"),
    Released("vitg.pt", "V-JEPA 2", G, 256, 64, f"{HUB}g-fpc64-256", licence=APACHE),
    Released("vitg-384.pt", "V-JEPA 2", G, 384, 64, f"{HUB}g-fpc64-384", licence=APACHE),
    Released("vjepa2-ac-vitg.pt", "V-JEPA 2-AC", G, 256),
    # Frames of the distilled models are not published; the others had 64 in their cooldown.
    Released("vjepa2_1_vitb_dist_vitG_384.pt", "V-JEPA 2.1", B, 384),
    Released("vjepa2_1_vitl_dist_vitG_384.pt", "V-JEPA 2.1", L, 384),
    Released("vjepa2_1_vitg_384.pt", "V-JEPA 2.1", G, 384, 64),
    Released("vjepa2_1_vitG_384.pt", "V-JEPA 2.1", GIGANTIC, 384, 64),
    Released("ssv2-vitl-16x2x3.pt", "probe, SSv2", L, 256, 16, f"{HUB}l-fpc16-256-ssv2", PROBES),
    Released("ssv2-vitg-384-64x2x3.pt", "probe, SSv2", G, 384, 64, f"{HUB}g-fpc64-384-ssv2", PROBES),
    Released("diving48-vitl-256.pt", "probe, Diving48", L, 256, 32, f"{HUB}l-fpc32-256-diving48", PROBES),
    Released(
        "diving48-vitg-384-32x4x3.pt", "probe, Diving48", G, 384, 32, f"{HUB}g-fpc32-384-diving48", PROBES
    ),
    Released("ek100-vitl-256.pt", "probe, EK100", L, 256, 32, folder=PROBES),
    Released("ek100-vitg-384.pt", "probe, EK100", G, 384, 32, folder=PROBES),
)


def released_file(source: str | Path) -> Released | None:
    """The published file of this name, wherever it lies; None for any other name."""
    name = Path(source).name
    return next((model for model in RELEASED if model.file == name), None)


def released() -> None:
    """Print the published models: their files, sizes and clips, their names on the hub, their addresses."""
    heading = ("file", "holds", "encoder", "heads", "clip", "levels", "licence", "on Hugging Face's hub")
    rows = [heading, *map(row_of, RELEASED)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print(
        f"\nFiles lie at {ADDRESS}/FILE, those of probes at {ADDRESS}/{PROBES}FILE. Nothing is fetched from "
        "there: give the path of a file that you have. A name on the hub is fetched where a source is given."
    )


def row_of(model: Released) -> tuple[str, ...]:
    """A model as the cells of its row; `-` for what is unknown."""
    width, depth = model.encoder
    levels = " ".join(map(str, model.levels)) or "-"
    encoder = f"{width} x {depth}"
    known = (model.licence or "-", model.hub or "-")
    return model.file, model.holds, encoder, str(model.heads), model.clip, levels, *known
