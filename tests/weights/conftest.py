"""What tests of weights share."""

import pytest

from vjepa.weights import unsaid


@pytest.fixture
def small_widths(monkeypatch):
    """The small networks of these tests are as if they were published, so that their heads are known."""
    monkeypatch.setitem(unsaid.PREDICTOR_HEADS, 24, 12)
    monkeypatch.setitem(unsaid.AC_PREDICTOR_HEADS, 96, 16)
    monkeypatch.setitem(unsaid.PROBE_HEADS, 32, 16)
