import builtins

import numpy as np
import pytest
from PIL import Image

from vjepa.drawing import palette
from vjepa.drawing.film import write_png
from vjepa.drawing.palette import CONTROL, OURS, PALETTE, rgb
from vjepa.drawing.style import DOTS, new_figure, save_figure, style
from vjepa.errors import UserError

pytest.importorskip("matplotlib")


def drawn():
    figure = new_figure(height=3.0)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1])
    return figure, axes


def test_figures_share_the_palette_and_leave_the_settings_of_others_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    with style():
        _, axes = drawn()
        assert axes.lines[0].get_color() == OURS
        assert not axes.spines["top"].get_visible()
    assert dict(matplotlib.rcParams) == before


def test_a_figure_has_no_white_margins(tmp_path):
    with style():
        figure, _ = drawn()
        save_figure(figure, tmp_path / "new" / "figure.png")
    image = np.asarray(Image.open(tmp_path / "new" / "figure.png").convert("RGB"))
    assert (tmp_path / "new" / "figure.png").stat().st_size > 1000
    white = (image == 255).all(axis=-1)
    # 0.05 inches, and what letters and anti-aliasing add.
    wide = round(0.09 * DOTS)
    for edge in (white[:wide], white[-wide:], white[:, :wide], white[:, -wide:]):
        assert not edge.all()


def test_without_matplotlib_a_figure_is_one_sentence(monkeypatch):
    def refuse(name, *arguments, **options):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return found(name, *arguments, **options)

    found = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UserError, match=r"need matplotlib; pip install 'vjepa\[plot\]'"), style():
        pass


def test_the_names_of_colour_maps_are_matplotlibs():
    from matplotlib import colormaps

    for name in (palette.SEQUENTIAL, palette.SHARES):
        assert name in colormaps


def lightness(colour: str) -> float:
    return float(np.array(rgb(colour)) @ (0.2126, 0.7152, 0.0722))


# Colours as eyes without red, green or blue cones see them: Machado, Oliveira and Fernandes, 2009.
BLIND = {
    "protan": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deutan": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritan": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


@pytest.mark.parametrize("kind", BLIND)
def test_ours_control_chance_and_truth_differ_for_colour_blind_eyes(kind):
    named = [OURS, CONTROL, palette.CHANCE, palette.TRUTH]
    linear = (np.array([rgb(colour) for colour in named]) / 255) ** 2.2
    seen = 255 * (linear @ np.array(BLIND[kind]).T).clip(0, 1) ** (1 / 2.2)
    for i in range(len(seen)):
        for j in range(i):
            assert np.linalg.norm(seen[i] - seen[j]) > 35, (named[i], named[j])


def test_ours_and_the_control_differ_in_print_without_colour():
    assert abs(lightness(OURS) - lightness(CONTROL)) > 50


def test_a_colour_is_three_numbers(tmp_path):
    assert rgb("#0072B2") == (0, 114, 178)
    assert len(set(map(rgb, PALETTE.values()))) == 8
    write_png(tmp_path / "colour.png", np.full((2, 2, 3), rgb(OURS), np.uint8))
