"""One run of a matrix on this machine: an attempt in a folder of its own, whose results land whole and once.

What is guaranteed, also where two processes come to do the same run, on one machine or on two that share the folder:

- The scores, NAME.json, appear in the folder of results in one step, after the pictures and the executed notebook, and
  are never replaced: of two attempts that both come to an end the first one counts and the other is discarded. An
  attempt that fails or is killed leaves no scores and no pictures.
- A run is attempted by one process at a time. A second one waits, and finds the run done or goes on from its
  checkpoints. The notebook's kernel holds the lock too, so that it outlasts a killed driver for as long as the kernel
  does, a second or so. A file system without locks is warned of.
- Where a machine loses its lock but lives on (a network that is cut), both attempts write checkpoints to one folder.
  They train the same run, every checkpoint appears in one step, and its checksum is verified when it is read: at worst
  one is not written, which is warned of.

The folder of an attempt is checkpoints/NAME.attempt-…, beside the checkpoints; the next attempt removes what is left.
"""

import contextlib
import errno
import fcntl
import os
import re
import shutil
import socket
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import nbformat
import train

from tripod_lite.autoencoder import TripodConfig
from tripod_lite.results import Result, configuration, read_result, run_name

# Of the notebook: with these it is known, without running it, which configuration a run has and where it ends.
IN_CONFIG = ("dataset", "size", "image_size", "batch_size", "quantize", "estimator", "lambda_klm", "lambda_nhp")
IN_RUN = ("dataset", "source", "steps", "seed")
NEEDED = {*IN_CONFIG, *IN_RUN, "eval_images", "out"}
HELD_OUT = 10_000  # what `Dataset.split` holds out, unless told otherwise
SHOWN = ("infom", "infoc", "infoe", "psnr")


@dataclass(frozen=True)
class Job:
    """A run of a matrix.

    Attributes:
        name: in the matrix.
        notebook: its path.
        values: of every parameter but `out`.
        out: the folder of results.
        executed: the name of the executed notebook.
    """

    name: str
    notebook: Path
    values: dict[str, train.Value]
    out: Path
    executed: str

    @property
    def config(self) -> TripodConfig:
        """The configuration, but for the precision: that is the business of the machine that will train."""
        return configuration(**{name: self.values[name] for name in IN_CONFIG}, precision="float32")

    @property
    def result(self) -> str:
        """The name of the result, NAME in NAME.json."""
        identity = {name: self.values[name] for name in IN_RUN if name != "steps"}
        return run_name(self.config, **identity)

    def recorded(self, folder: Path | None = None) -> Result | None:
        """The result, where it is there.

        Args:
            folder: where to look, by default `out`.

        Raises:
            ValueError: in its place is that of another run; the message says in what it differs.
        """
        path = (folder or self.out) / f"{self.result}.json"
        identity = {name: self.values[name] for name in IN_RUN}
        there = read_result(path, self.config, **identity, precision=False)
        if there is not None and there.scores.n != min(self.values["eval_images"], HELD_OUT):
            raise ValueError(
                f"{path} has the scores of the same run on {there.scores.n} images, "
                f"{self.values['eval_images']} asked for; remove it, or choose another folder"
            )
        return there


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        name: of the run, in the matrix.
        status: "done", "there" (it was done before), "failed" or "stopped" (by Ctrl-C).
        seconds: that it took.
        scores: those of `SHOWN` that it has.
        problem: of a failed one, where and why.
        interrupted: whether Ctrl-C came, perhaps too late for this run: no other is to begin.
    """

    name: str
    status: str
    seconds: float = 0.0
    scores: dict[str, float] | None = None
    problem: str = ""
    interrupted: bool = False


def scores_of(result: Result) -> dict[str, float]:
    """The scores that are shown, as far as the result has them."""
    known = {name: getattr(result.scores, name) for name in SHOWN}
    return {name: float(value) for name, value in known.items() if value is not None}


def attempt(job: Job) -> Outcome:
    """Do a run, unless it is done; whatever goes wrong is in the outcome, so that other runs go on."""
    clock = time.perf_counter()

    def outcome(status: str, **fields: object) -> Outcome:
        return Outcome(job.name, status, time.perf_counter() - clock, **fields)

    kept = job.out / "checkpoints"
    try:
        kept.mkdir(parents=True, exist_ok=True)
        with locked(kept / f"{job.result}.lock", job.name) as lock:
            if (there := job.recorded()) is not None:
                return outcome("there", scores=scores_of(there))
            for left in kept.glob(f"{job.result}.attempt-*"):
                shutil.rmtree(left)
            work = Path(tempfile.mkdtemp(prefix=f"{job.result}.attempt-", dir=kept))
            (work / "checkpoints").symlink_to("..")  # those of all attempts
            print(f"{job.name}: starts on {socket.gethostname()}", flush=True)
            status = train.execute(
                job.notebook, work / job.executed, job.values | {"out": str(work)}, keep_open=(lock.fileno(),)
            )
            result, problem = None, f"{job.notebook.name} ran to its end and left no {job.result}.json"
            if status == 0:
                try:
                    result = job.recorded(work)
                except ValueError as error:  # the notebook's result is another than the one asked for
                    problem = str(error)
            land(work, job, scored=result is not None)
        if result is not None:
            return outcome("done", scores=scores_of(result), interrupted=train.RunningPython.stopped)
        if status == 130:
            return outcome("stopped")
        return outcome("failed", problem=failure(job.out / job.executed) if status else problem)
    except KeyboardInterrupt:
        return outcome("stopped")
    except Exception:
        return outcome("failed", problem=traceback.format_exc())


@contextlib.contextmanager
def locked(path: Path, name: str) -> Iterator[TextIO]:
    """Hold the lock `path`, after waiting for whoever holds it."""
    with path.open("a") as file:
        waits = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                    print(f"{name}: {path.parent} has no locks; no other process should do this run", flush=True)
                    break
                if not isinstance(error, BlockingIOError):
                    raise
                if not waits:
                    print(f"{name}: waits for another process that does it", flush=True)
                waits = True
                time.sleep(0.2)
        yield file


def land(work: Path, job: Job, *, scored: bool) -> None:
    """Move what an attempt left to the folder of results, the scores last; without scores, only the notebook.

    Nothing is moved where another attempt has landed its scores.
    """
    scores = f"{job.result}.json"
    if not (job.out / scores).exists():
        for path in work.iterdir():
            if path.name == job.executed or (scored and path.is_file() and path.name != scores):
                os.replace(path, job.out / path.name)
        if scored:
            try:
                os.link(work / scores, job.out / scores)
            except FileExistsError:  # the other attempt came to its end just now
                pass
            except OSError:  # a file system without hard links: one of two that end at this very moment is replaced
                os.replace(work / scores, job.out / scores)
    shutil.rmtree(work)


def failure(executed: Path) -> str:
    """At which cell an executed notebook ended, what the cell says, and the traceback."""
    if not executed.is_file():
        return "the notebook's kernel did not start"
    cells = [cell for cell in nbformat.read(executed, as_version=4).cells if cell.cell_type == "code"]
    for number, cell in enumerate(cells, start=1):
        errors = [output for output in cell.outputs if output.output_type == "error"]
        begun = cell.metadata.get("papermill", {}).get("start_time")
        if errors:
            why = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(errors[0].traceback))
        elif begun and "shell.execute_reply" not in cell.metadata.get("execution", {}):
            why = "The kernel died in this cell; too little memory is the usual cause."
        else:
            continue
        source = "\n".join(f"    {line}" for line in cell.source.splitlines())
        return f"{executed}, cell [{cell.execution_count or number}]:\n\n{source}\n\n{why}"
    return f"{executed}: no cell has failed, but the notebook did not come to its end"
