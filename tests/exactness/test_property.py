"""The promise over all modes and samplers: the same id, the same pixels, however the row came to be made."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from exactly import KINDS, Bench, Job, Way, differing, job, jobs
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from sdbatch.parameters import SCHEDULERS

Ways = Callable[[Bench], dict[str, Way]]
FEW = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],  # shrinking takes minutes
)


def check(bench: Bench, ways: dict[str, Way], wanted: Job) -> None:
    """All ways but Ray give what batches give, and seeds and inputs, at least, are seen in the pictures."""
    reference = bench.batched(wanted)
    assert len(set(reference.values())) >= 3
    found = differing({name: way for name, way in ways.items() if name != "ray"}, reference, wanted)
    assert found == {name: set() for name in found}


@settings(FEW, max_examples=2)
@given(jobs(small=True))
def test_rows_are_the_same_in_every_way(bench: Bench, ways: Ways, wanted: Job) -> None:
    few = ways(bench)
    check(bench, {name: few[name] for name in ("alone", "shuffled", "three", "continued")}, wanted)


@pytest.mark.slow
@pytest.mark.parametrize(("at", "kind"), list(enumerate(KINDS)), ids=KINDS)
def test_rows_of_each_mode_and_sampler_are_the_same_in_every_way(at: int, kind: str, bench: Bench, ways: Ways) -> None:
    """The modes share the samplers among them."""
    for sampler in SCHEDULERS[at :: len(KINDS)]:

        @seed(at)
        @settings(FEW, derandomize=False, max_examples=1)
        @given(jobs([kind], [sampler]))
        def _each(wanted: Job) -> None:
            check(bench, ways(bench), wanted)

        _each()


@pytest.mark.ray
@settings(FEW, max_examples=1)
@given(st.data())
def test_rows_are_the_same_on_two_actors(bench: Bench, ways: Ways, data: st.DataObject) -> None:
    wanted = data.draw(jobs())
    assert differing({"ray": ways(bench)["ray"]}, bench.batched(wanted), wanted) == {"ray": set()}


@pytest.mark.ray
@pytest.mark.parametrize("kind", ["inpaint", "upscale-tiles"])
def test_rows_with_pictures_are_the_same_on_two_actors(kind: str, bench: Bench, ways: Ways) -> None:
    wanted = job(kind, {"seed": [1, 2, 3]}, scheduler="dpmpp_sde")
    assert differing({"ray": ways(bench)["ray"]}, bench.batched(wanted), wanted) == {"ray": set()}
