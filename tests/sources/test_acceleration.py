"""What `accelerate` may say, and which packages it takes."""

from __future__ import annotations

import importlib.util
import json
from importlib import metadata
from typing import Any

import pytest

from sdbatch.sources import acceleration

GOOD: list[Any] = [None, {"deepcache": 2}, {"deepcache": 3.0}, {"tome": 0.75}, {"tome": 0.01, "deepcache": 1000}]
BAD: list[tuple[Any, str]] = [
    ({}, r"is not \{deepcache: N\}"),
    (2, r"is not \{deepcache: N\}"),
    ("tome", r"is not \{deepcache: N\}"),
    ([{"tome": 0.5}], r"is not \{deepcache: N\}"),
    ({"deep_cache": 2}, "unknown key 'deep_cache'; did you mean 'deepcache'"),
    ({"ToMe": 0.5}, "did you mean 'tome'"),
    ({"tome": 0.5, "xformers": True}, "unknown key 'xformers'; allowed: deepcache, tome"),
    ({"deepcache": None}, "is not a number"),
    ({"deepcache": True}, "is not a number"),
    ({"tome": "0.5"}, "is not a number"),
    ({"deepcache": 1}, "whole number from 2 to 1000"),
    ({"deepcache": 2.5}, "whole number from 2 to 1000"),
    ({"deepcache": 1001}, "whole number from 2 to 1000"),
    ({"deepcache": float("nan")}, "whole number from 2 to 1000"),
    ({"deepcache": float("inf")}, "whole number from 2 to 1000"),
    ({"tome": 0}, "above 0 and at most 0.75"),
    ({"tome": 0.76}, "above 0 and at most 0.75"),
    ({"tome": float("nan")}, "above 0 and at most 0.75"),
]


@pytest.mark.parametrize("value", GOOD, ids=str)
def test_what_is_allowed(value: Any) -> None:
    assert acceleration.problem(value) is None


@pytest.mark.parametrize(("value", "said"), BAD, ids=lambda one: str(one)[:30])
def test_what_is_not(value: Any, said: str) -> None:
    wrong = acceleration.problem(value)
    assert wrong is not None
    with pytest.raises(ValueError, match=said):
        raise ValueError(wrong)


def test_a_package_that_is_not_here_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    both = {"deepcache": 2, "tome": 0.5}
    assert acceleration.missing(both) is None and acceleration.missing(None) is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tomesd" else object())
    assert acceleration.missing({"deepcache": 2}) is None
    assert acceleration.missing(both) == 'needs the package tomesd: pip install "sdbatch[accelerate]"'


def test_versions_are_of_what_is_used() -> None:
    tome, cache = metadata.version("tomesd"), metadata.version("DeepCache")
    assert acceleration.versions({"tome": 0.5}) == {"tomesd": tome}
    assert acceleration.versions(json.dumps({"deepcache": 2, "tome": 0.5})) == {"DeepCache": cache, "tomesd": tome}
    for nothing in (None, {}, "", "no JSON", "[" * 100_000, ["tome"], 3, {"other": 1}):
        assert acceleration.versions(nothing) == {}
