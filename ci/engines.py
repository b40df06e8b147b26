"""Where the runs of a matrix are done: here one by one, here several at a time, or on the machines of a Ray cluster.

Each engine takes jobs and yields an outcome as each ends. Ctrl-C stops the runs under way with a checkpoint and starts
no others; a second one stops at once.

A Ray cluster is any number of machines that see the checkout and its .venv in the same place: on one of them
`.venv/bin/ray start --head`, on each other `.venv/bin/ray start --address=HOST:6379`. A run whose worker or machine is
lost is done again on another machine and goes on from its checkpoints. Ray gives each run its GPUs; of one with
several, `fit` shares every batch among them.
"""

import contextlib
import importlib.util
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path

import train
from attempts import Job, Outcome, attempt


def one_by_one(jobs: list[Job]) -> Iterator[Outcome]:
    """Do the runs in this process."""
    for job in jobs:
        outcome = attempt(job)
        yield outcome
        if outcome.status == "stopped":
            return


class Labeled:
    """A stream whose lines begin with the name of a run."""

    def __init__(self, stream: object, name: str):
        self._stream, self._name, self._line = stream, name, ""

    def write(self, text: str) -> int:
        """Write the lines that are whole."""
        *lines, self._line = (self._line + text).split("\n")
        self._stream.write("".join(f"{self._name} | {line}\n" for line in lines))
        return len(text)

    def flush(self) -> None:
        """Flush the stream below."""
        self._stream.flush()


def in_processes(jobs: list[Job], count: int) -> Iterator[Outcome]:
    """Do the runs in processes of their own, `count` at a time."""
    context = multiprocessing.get_context("spawn")
    left, running = list(jobs), {}
    while left or running:
        try:
            while left and len(running) < count:
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_attempt_and_send, args=(left[0], sender))
                process.start()
                sender.close()  # so that the child's end is the only one
                running[receiver] = process, left.pop(0)
            ready = wait(list(running))
        except KeyboardInterrupt:
            left.clear()
            for process, _ in running.values():
                os.kill(process.pid, signal.SIGINT)
            continue
        for receiver in ready:
            process, job = running.pop(receiver)
            try:
                yield receiver.recv()
            except EOFError:
                process.join()
                yield Outcome(job.name, "failed", problem=f"its process ended with status {process.exitcode}")
            receiver.close()
            process.join()


def _attempt_and_send(job: Job, sender: Connection) -> None:
    """Do a run in a child process."""
    os.setsid()  # a terminal's Ctrl-C is passed on by the parent, once
    with (
        contextlib.redirect_stdout(Labeled(sys.stdout, job.name)),
        contextlib.redirect_stderr(Labeled(sys.stderr, job.name)),
    ):
        sender.send(attempt(job))


def check_ray() -> None:
    """Raise ImportError where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise ImportError("--ray needs Ray: .venv/bin/pip install -c requirements.lock '.[sweep]'")


def on_ray(jobs: list[Job], address: str, *, cpus: int, gpus: int, retries: int) -> Iterator[Outcome]:
    """Do the runs on a Ray cluster, as many at a time as it has room for.

    Args:
        jobs: the runs; their folders must be shared by all machines.
        address: of the cluster, HOST:PORT; "auto": the one that runs on this machine; "local": one for these runs.
        cpus: cores for each run.
        gpus: for each run.
        retries: how often a run is done again whose worker or machine was lost.
    """
    import ray

    # Where the workers find the modules of this folder, which the runs' function is in.
    path = os.pathsep.join(filter(None, [str(Path(__file__).parent), str(train.ROOT), os.environ.get("PYTHONPATH")]))
    ray.init(address=address, runtime_env={"env_vars": {"PYTHONPATH": path}})
    try:
        task = ray.remote(attempt)
        resources = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": retries}
        running = {task.options(name=job.name, **resources).remote(job): job for job in jobs}
        while running:
            try:
                (ready, *_), _ = ray.wait(list(running))
                job = running.pop(ready)
                outcome = ray.get(ready)
            except KeyboardInterrupt:
                for each in running:
                    ray.cancel(each)
                continue
            except ray.exceptions.TaskCancelledError:
                outcome = Outcome(job.name, "stopped")
            except ray.exceptions.RayError as error:
                outcome = Outcome(job.name, "failed", problem=str(error))
            yield outcome
    finally:
        ray.shutdown()
