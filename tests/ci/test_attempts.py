"""Runs on file systems without locks or hard links, and interrupts that come early or late."""

import errno
import multiprocessing
from types import SimpleNamespace

import attempts
import engines
import pytest
from attempts import Job, Outcome
from small_matrices import a_result

JOBS = [Job(name, None, {}, None, f"{name}.ipynb") for name in ("first", "second")]


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_without_locks_a_run_goes_on_with_a_warning(code, tmp_path, monkeypatch, capsys):
    def flock(*_):
        raise OSError(code, "no locks")

    monkeypatch.setattr(attempts.fcntl, "flock", flock)
    with attempts.locked(tmp_path / "a.lock", "shapes3d"):
        pass
    assert f"shapes3d: {tmp_path} has no locks" in capsys.readouterr().out


def test_other_errors_of_a_lock_are_errors(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.EIO, "broken disk")

    monkeypatch.setattr(attempts.fcntl, "flock", flock)
    with pytest.raises(OSError, match="broken disk"), attempts.locked(tmp_path / "a.lock", "shapes3d"):
        pass


def test_without_hard_links_scores_land_too(tmp_path, monkeypatch):
    def link(*_):
        raise OSError(errno.EPERM, "no links")

    monkeypatch.setattr(attempts.os, "link", link)
    monkeypatch.setattr(Job, "result", "scores")
    work = tmp_path / "work"
    work.mkdir()
    (work / "scores.json").write_text(a_result())
    attempts.land(work, Job("a", None, {}, tmp_path, "a.ipynb"), scored=True)
    assert (tmp_path / "scores.json").read_text() == a_result()
    assert not work.exists()


def test_an_interrupt_that_came_too_late_for_a_run_begins_no_other(monkeypatch):
    monkeypatch.setattr(engines, "attempt", lambda job: Outcome(job.name, "done", interrupted=job.name == "first"))
    assert [outcome.name for outcome in engines.one_by_one(JOBS)] == ["first"]


def test_a_process_that_is_interrupted_before_its_run_is_stopped_and_has_not_failed(monkeypatch):
    class Process:
        """Dies while it imports, as an interrupt then has it."""

        pid, exitcode = 2**22 + 1, -2  # above what Linux gives out: nobody is signaled

        def __init__(self, target, args):
            pass

        def start(self):
            pass

        def join(self):
            pass

    context = SimpleNamespace(Pipe=multiprocessing.Pipe, Process=Process)
    waited = iter([KeyboardInterrupt])

    def wait(receivers):
        for error in waited:
            raise error
        return list(receivers)

    monkeypatch.setattr(engines.multiprocessing, "get_context", lambda _: context)
    monkeypatch.setattr(engines, "wait", wait)
    ended = list(engines.in_processes(JOBS, 1))
    assert [(outcome.name, outcome.status) for outcome in ended] == [("first", "stopped")]
