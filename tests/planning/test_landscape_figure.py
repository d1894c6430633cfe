"""The picture of an energy landscape says where its marks are, in units that people read."""

import numpy as np
import pytest
import torch

from vjepa.planning.landscape import LandscapeConfig, energy_landscape
from vjepa.planning.landscape_figure import draw_marks, plot_landscape, swept_axes
from vjepa.robots.schema import END_EFFECTOR, vector_schema


def test_a_landscape_is_drawn_in_units_that_people_read():
    x, yaw = swept_axes(END_EFFECTOR, LandscapeConfig(axes=(0, 5)))
    assert (x.name, x.unit, x.factor) == ("x", "cm", 100.0)
    assert (yaw.name, yaw.unit) == ("yaw", "degrees") and yaw.factor == pytest.approx(57.29578)
    joints = vector_schema(("shoulder", "elbow"), "ticks", bound=1.0)
    assert swept_axes(joints, LandscapeConfig())[1] == ("elbow", "ticks", 1.0)


def test_the_marks_of_a_landscape_stand_where_the_legend_says(tmp_path):
    pytest.importorskip("matplotlib", reason="pictures need the plot extra")
    from matplotlib.figure import Figure

    truth = torch.zeros(1, 7)
    truth[0, :2] = torch.tensor([0.06, -0.035])
    config = LandscapeConfig(span=(0.1, 0.1), points=11)
    plane = energy_landscape(lambda actions: (actions - truth).square().sum(dim=(1, 2)), truth, config)
    axes = Figure().subplots()
    draw_marks(axes, plane, swept_axes(END_EFFECTOR, config))
    marks = {line.get_label(): line.get_xydata()[0] for line in axes.lines}
    assert list(marks) == ["least energy (6.0, -4.0)", "true action (6.0, -3.5)", "no motion (0.0, 0.0)"]
    np.testing.assert_allclose(list(marks.values()), [(6, -4), (6, -3.5), (0, 0)], atol=1e-4)

    # A plane without any difference can be drawn too.
    flat = energy_landscape(lambda actions: torch.ones(len(actions)), truth, config)
    plot_landscape(flat, swept_axes(END_EFFECTOR, config), tmp_path / "flat.png")
    assert (tmp_path / "flat.png").stat().st_size > 5000
