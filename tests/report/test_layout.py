"""How many pictures stand side by side in a cell."""

from __future__ import annotations

import pytest

from sdbatch.report.layout import _across


@pytest.mark.parametrize(
    ("pictures", "across"), [(1, 1), (2, 2), (3, 3), (4, 2), (5, 3), (6, 3), (7, 4), (9, 3), (10, 5)]
)
def test_few_places_stay_empty(pictures: int, across: int) -> None:
    assert _across(pictures) == across
