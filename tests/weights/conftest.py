"""What tests of weights share."""

import pytest

from vjepa.weights import heads


@pytest.fixture
def small_widths(monkeypatch):
    """The small networks of these tests are as if they were published, so that their heads are known."""
    monkeypatch.setitem(heads.PREDICTOR_HEADS, 24, 12)
    monkeypatch.setitem(heads.AC_PREDICTOR_HEADS, 96, 16)
    monkeypatch.setitem(heads.PROBE_HEADS, 32, 16)
