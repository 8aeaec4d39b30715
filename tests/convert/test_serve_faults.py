"""A server and a child that are killed: what was accepted ends, once. Many kills: `nox -s service_faults`."""

from __future__ import annotations

from pathlib import Path

from converter.jobs.states import State
from tests.benchmarks.service_faults import run


def test_two_kills_lose_nothing(tmp_path: Path) -> None:
    kills, told = run(tmp_path, victims=["child", "server"], jobs=2, seed=3)
    assert [one.victim for one in kills] == ["child", "server"]
    assert {one.state for one in told} == {State.SUCCEEDED}
    assert all(one.ended == 1 for one in told)
