"""Time to go by what each kind of rows takes."""

from __future__ import annotations

import pytest

from sdbatch.report.forecast import Forecast


def test_each_kind_counts_as_it_was_measured() -> None:
    forecast = Forecast()
    forecast.begin([10, 10])
    assert forecast.seconds_left(0) is None
    forecast.heard(0, 5, [1.0] * 5, 5)
    assert forecast.seconds_left(5) == pytest.approx(15), "the other kind as this one"
    forecast.heard(1, 5, [10.0] * 5, 55)
    assert forecast.seconds_left(55) == pytest.approx(5 + 50)
    assert forecast.seconds_left(27.5) == pytest.approx(55 / 2), "two workers"
    forecast.heard(0, 5, [], 55)
    assert forecast.seconds_left(55) == pytest.approx(50), "rows that failed are settled"
    forecast.heard(1, 9, [10.0] * 5, 105)
    assert forecast.seconds_left(105) == 0


def test_what_came_before_the_first_batch_does_not_come_again() -> None:
    forecast = Forecast()
    forecast.begin([40])
    forecast.heard(0, 12, [1.0] * 6 + [0.2] * 6, 9.0)  # the first batch loaded the model
    assert forecast.lost == pytest.approx(6.6) and forecast.seconds_left(9) == pytest.approx(28 * 0.2)
    assert forecast.seconds_left(9.8, in_hand=4) == pytest.approx(24 * 0.2), "not heard of, but made"
    forecast.heard(0, 12, [0.2] * 12, 11.4)
    assert forecast.seconds_left(11.4) == pytest.approx(16 * 0.2)


def test_the_first_batch_alone_tells_nothing_of_loading() -> None:
    forecast = Forecast()
    forecast.begin([30])
    forecast.heard(0, 10, [1.0] * 10, 11.0)
    assert forecast.lost == pytest.approx(1)
    forecast.heard(0, 10, [0.2] * 10, 13.0)
    assert forecast.lost == pytest.approx(9) and forecast.seconds_left(13) == pytest.approx(2)
