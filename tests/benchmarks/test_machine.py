"""Other processes' share of the machine is what is busy beyond one's own time."""

from types import SimpleNamespace

import pytest

from benchmarks import machine


@pytest.fixture
def clock(monkeypatch):
    times = {"now": 0.0, "own": 0.0}
    own = SimpleNamespace(perf_counter=lambda: times["now"], process_time=lambda: times["own"])
    monkeypatch.setattr(machine, "time", own)
    monkeypatch.setattr(machine.os, "sysconf", lambda name: {"SC_CLK_TCK": 100}[name])
    return times


def write(path, *ticks):
    path.write_text("cpu  " + " ".join(map(str, ticks)) + " 0 0\ncpu0 1 2 3\n")


def test_cores_of_others_are_busy_time_less_ones_own(clock, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "TICKS", tmp_path / "stat")
    write(tmp_path / "stat", 1000, 100, 10, 5000, 7, 1, 1, 1)
    load = machine.OtherLoad()
    clock.update(now=10.0, own=12.0)
    write(tmp_path / "stat", 1900, 700, 110, 6000, 9, 51, 51, 1)  # 17 seconds more of user, nice, system and interrupts
    assert load.cores() == pytest.approx(0.5)


def test_a_machine_that_does_not_say_has_none(clock, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "TICKS", tmp_path / "none")
    load = machine.OtherLoad()
    clock.update(now=1.0)
    assert load.cores() is None
