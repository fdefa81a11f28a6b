"""Who is alive: by the kernel's lock on one machine, by a counter that moves from another."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanochat.study.lease import Leases


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def observer(tmp_path: Path, clock: Clock) -> Leases:
    return Leases(tmp_path, seconds=30.0, clock=clock)


def test_a_worker_is_alive_as_long_as_it_holds_its_lock(tmp_path: Path, observer: Leases) -> None:
    other = Leases(tmp_path, seconds=30.0)
    with other.held():
        assert observer.alive(other.owner)
    assert not observer.alive(other.owner)
    assert list(tmp_path.iterdir()) == []


def test_a_lock_file_that_nobody_holds_is_a_dead_worker_at_once(tmp_path: Path, observer: Leases) -> None:
    other = Leases(tmp_path, seconds=30.0)
    (tmp_path / f"{other.owner}.lock").touch()
    (tmp_path / f"{other.owner}.beat").write_text("3")
    assert not observer.alive(other.owner)
    assert list(tmp_path.iterdir()) == [], "what is left of the dead is cleared away"


def test_oneself_is_alive_and_nobody_is_not(observer: Leases) -> None:
    assert observer.alive(observer.owner)
    assert not observer.alive("")


def test_a_counter_on_another_machine_that_stands_still_for_the_lease_is_a_dead_worker(
    tmp_path: Path, observer: Leases, clock: Clock
) -> None:
    owner = "elsewhere.0a1b2c3d.17.abcdef"
    (tmp_path / f"{owner}.lock").touch()
    counter = tmp_path / f"{owner}.beat"
    counter.write_text("1")
    clock.now = 1000.0
    assert observer.alive(owner), "the first sight begins the lease, whatever the clocks say"
    clock.now += 29.0
    assert observer.alive(owner)
    counter.write_text("2")
    clock.now += 29.0
    assert observer.alive(owner), "it moved"
    clock.now += 29.0
    assert observer.alive(owner)
    clock.now += 2.0
    assert not observer.alive(owner)


def test_a_worker_that_left_in_order_is_gone_at_once(observer: Leases) -> None:
    assert not observer.alive("elsewhere.0a1b2c3d.17.abcdef")


def test_the_counter_moves(tmp_path: Path) -> None:
    worker = Leases(tmp_path, seconds=0.06)
    with worker.held():
        counter = tmp_path / f"{worker.owner}.beat"
        seen: set[str] = set()
        while len(seen) < 3:
            if counter.exists():
                seen.add(counter.read_text())
