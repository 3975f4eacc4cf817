"""Time to go by what each kind of rows takes."""

from __future__ import annotations

import pytest

from sdbatch.report.forecast import Forecast


def test_each_kind_counts_as_it_was_measured() -> None:
    forecast = Forecast()
    forecast.begin([10, 10])
    assert forecast.seconds_left(0) is None
    forecast.heard(0, 5, 5, 5.0)
    assert forecast.seconds_left(5) == pytest.approx(15), "the other kind as this one"
    forecast.heard(1, 5, 5, 50.0)
    assert forecast.seconds_left(55) == pytest.approx(5 + 50)
    assert forecast.seconds_left(27.5) == pytest.approx(55 / 2), "two workers"
    forecast.heard(0, 5, 0, 0.0)
    assert forecast.seconds_left(55) == pytest.approx(50), "rows that failed are settled"
    forecast.heard(1, 9, 5, 50.0)
    assert forecast.seconds_left(105) == 0
