"""What the figures of the evaluation say: legends in words, numbers in cells."""

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="pictures need the plot extra")
from matplotlib.figure import Figure

from vjepa.drawing.palette import CONTROL, OURS
from vjepa.evaluation.confusion import MOST_NUMBERS, draw_confusion, name_classes, write_shares
from vjepa.evaluation.rollout_error import ROWS
from vjepa.evaluation.rollout_figure import error_figure


def test_the_legend_of_rollout_errors_says_what_each_row_was_given():
    figure = error_figure({row: [0.1, 0.2, 0.3] for row in ROWS}, "3 windows")
    axes = figure.axes[0]
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert [name.partition(":")[0] for name in names] == list(ROWS)
    assert all(len(name.partition(": ")[2]) > 10 for name in names)
    assert axes.get_ylim()[0] == 0
    assert axes.lines[0].get_color() == OURS and axes.lines[1].get_color() == CONTROL


def test_cells_hold_per_cent_and_leave_out_what_never_happened():
    axes = Figure().subplots()
    write_shares(axes, np.array([[0.75, 0.25], [0.001, 0.999]]))
    assert [text.get_text() for text in axes.texts] == ["75", "25", "100"]
    assert [text.get_position() for text in axes.texts] == [(0, 0), (1, 0), (1, 1)]
    dark, light = axes.texts[0].get_color(), axes.texts[1].get_color()
    assert dark != light


def test_classes_are_named_in_words():
    axes = Figure().subplots()
    name_classes(axes, ["move_left", "lift"])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["move left", "lift"]


@pytest.mark.parametrize("classes", [2, MOST_NUMBERS + 1, 60])
def test_a_confusion_matrix_of_any_size_is_drawn(tmp_path, classes):
    draw_confusion(tmp_path / "c.png", np.eye(classes, dtype=np.int64), list("ab" * 30)[:classes], "title")
    assert (tmp_path / "c.png").stat().st_size > 5000
