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
        if outcome.status == "stopped" or outcome.interrupted:
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
    left, running, interrupted = list(jobs), {}, False

    def interrupt() -> None:
        for process, _ in running.values():
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(process.pid, signal.SIGINT)

    try:
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
                interrupted = True
                left.clear()
                interrupt()
                continue
            for receiver in ready:
                process, job = running.pop(receiver)
                try:
                    outcome = receiver.recv()
                except EOFError:
                    outcome = None
                receiver.close()
                process.join()
                if outcome is None and interrupted:  # before it came to the run
                    outcome = Outcome(job.name, "stopped")
                died = Outcome(job.name, "failed", problem=f"its process ended with status {process.exitcode}")
                yield outcome or died
    finally:
        interrupt()  # where nobody waits any longer


def _attempt_and_send(job: Job, sender: Connection) -> None:
    """Do a run in a child process."""
    os.setsid()  # a terminal's Ctrl-C is passed on by the parent, once
    with (
        contextlib.redirect_stdout(Labeled(sys.stdout, job.name)),
        contextlib.redirect_stderr(Labeled(sys.stderr, job.name)),
    ):
        sender.send(attempt(job))


def connect(address: str) -> None:
    """Connect to a Ray cluster, for `on_ray`.

    Args:
        address: HOST:PORT; "auto": the cluster that runs on this machine; "local": one on this machine for this call.

    Raises:
        ValueError: Ray is not installed, or there is no cluster.
    """
    if importlib.util.find_spec("ray") is None:
        raise ValueError("--ray needs Ray: .venv/bin/python -m pip install -c requirements.lock -e '.[sweep]'")
    import ray

    # Where the workers find the modules of this folder, which the runs' function is in.
    path = os.pathsep.join(filter(None, [str(Path(__file__).parent), str(train.ROOT), os.environ.get("PYTHONPATH")]))
    try:
        ray.init(address=address, runtime_env={"env_vars": {"PYTHONPATH": path}})
    except (ConnectionError, ValueError) as error:
        raise ValueError(f"--ray must be the address of a Ray cluster, got {address!r}: {error}") from error


def on_ray(jobs: list[Job], *, cpus: int, gpus: int, retries: int) -> Iterator[Outcome]:
    """Do the runs on the Ray cluster of `connect`, as many at a time as it has room for.

    Args:
        jobs: the runs; their folders must be shared by all machines.
        cpus: cores for each run.
        gpus: for each run.
        retries: how often a run is done again whose worker or machine was lost.
    """
    import ray

    if not any(n["Resources"].get("CPU", 0) >= cpus and n["Resources"].get("GPU", 0) >= gpus for n in ray.nodes()):
        print(f"Waiting for a machine with {cpus} CPUs and {gpus} GPUs: the cluster has none yet", flush=True)
    try:
        task = ray.remote(attempt)
        resources = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": retries}
        running = {task.options(name=job.name, **resources).remote(job): job for job in jobs}
        while running:
            try:
                (ready, *_), _ = ray.wait(list(running))
                outcome = ray.get(ready)
            except KeyboardInterrupt:
                for each in running:
                    ray.cancel(each)
                continue
            except ray.exceptions.TaskCancelledError:
                outcome = Outcome(running[ready].name, "stopped")
            except ray.exceptions.RayError as error:
                outcome = Outcome(running[ready].name, "failed", problem=str(error))
            del running[ready]
            yield outcome
    finally:
        ray.shutdown()
