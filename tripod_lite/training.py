"""Training: one loop for every configuration, with checkpoints that resume to the same result."""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from tripod_lite.autoencoder import Tripod, TripodConfig
from tripod_lite.checkpoints import Checkpoints
from tripod_lite.checks import check_count
from tripod_lite.datasets import Dataset
from tripod_lite.engine import Batches, Engine
from tripod_lite.progress import Progress, deferred_interrupt


@dataclass(eq=False)
class Run:
    """What `fit` returns.

    Attributes:
        model: the trained model.
        history: one array a quantity. "step", "loss", "bce" and, where they are on, "klm" and "nhp": averages over
            the steps since the entry before. "eval_step", "infom", "infoc", "infoe", "psnr": held-out scores, where
            asked for.
        config: the configuration.
        steps: optimization steps done.
        seconds: seconds of training, evaluation and compilation included, summed over resumed parts.
    """

    model: Tripod
    history: dict[str, np.ndarray]
    config: TripodConfig
    steps: int
    seconds: float


def fit(
    ds: Dataset,
    cfg: TripodConfig,
    *,
    steps: int,
    seed: int = 0,
    seeds: Sequence[int] | None = None,
    checkpoint_dir: str | Path | None = None,
    progress: bool | int = True,
    checkpoint_every: int = 1000,
    evaluate_every: int = 0,
    log_every: int = 50,
    devices: Sequence[jax.Device] | None = None,
) -> Run | list[Run]:
    """Train a Tripod, or several that differ by their seeds.

    Args:
        ds: a data set, trained on its training part and scored on its held-out part (`ds.split()`), or a part.
        cfg: the configuration.
        steps: optimization steps in all, those before a resume included.
        seed: decides parameters, batches and probes. The same seed gives the same run, resumed or not.
        seeds: train one model for each, and return a list. On accelerators they are trained at once, in one program,
            each as by itself up to round-off; on the CPU, where that would be slow, one after the other.
        checkpoint_dir: where to save; where it holds a checkpoint of the same run, training goes on from there.
        progress: True for a progress bar (lines where there is neither terminal nor notebook), N for a line every N
            steps, False for silence.
        checkpoint_every: steps between checkpoints; one more is saved at the end and on an interrupt.
        evaluate_every: steps between held-out scores (0: none). Each takes some seconds.
        log_every: steps between entries of the history.
        devices: accelerators that share each batch; None: all of them where their number divides the batch size, else
            one. In a run of several processes (`jax.distributed.initialize` comes before anything else) it is None: the
            devices of all.

    Returns:
        `Run(model, history, config, steps, seconds)`, or one for each of `seeds`. An interrupt (Ctrl-C, the stop
        button) ends the step, warns, saves, and returns what there is; a second one stops at once, and so does the
        first where several processes train together.

    Raises:
        TypeError, ValueError: arguments of the wrong kind, a data set of another image size than the
            configuration's, or a checkpoint that belongs to another data set, configuration, seed or number of steps.
        FloatingPointError: a loss or gradient that is infinite or not a number; the message has the step, the rows of
            its batch and the last good checkpoint.
    """
    steps, seed = check_count("steps", steps, 1), check_count("seed", seed, 0)
    checkpoint_every = check_count("checkpoint_every", checkpoint_every, 1)
    evaluate_every = check_count("evaluate_every", evaluate_every, 0)
    log_every = check_count("log_every", log_every, 1)
    if seeds is not None:
        if isinstance(seeds, str) or not isinstance(seeds, Sequence):
            raise TypeError(f"seeds must be a sequence of integers, got {seeds!r}")
        seeds = tuple(check_count("seeds", one, 0) for one in seeds)
        if not seeds or len(set(seeds)) < len(seeds):
            raise ValueError(f"seeds must be different and at least one, got {seeds!r}")
    if not isinstance(progress, bool):
        check_count("progress", progress, 0)
    if not all(hasattr(ds, name) for name in ("rows", "fetch", "image_size", "part", "identity")):
        raise TypeError(f"ds must be a data set, from load_dataset or from_images, got {type(ds).__name__}")
    if not isinstance(cfg, TripodConfig):
        raise TypeError(f"cfg must be a TripodConfig, got {type(cfg).__name__}")
    if ds.image_size != cfg.image_size:
        raise ValueError(f"ds has images of size {ds.image_size}, but cfg.image_size is {cfg.image_size}")
    train, held_out = ds.split() if ds.part == "all" else (ds, None)
    if evaluate_every and held_out is None:
        raise ValueError("evaluate_every needs a whole data set, which fit splits; got a part of one")

    loop = Loop(train, held_out, cfg, steps, progress, checkpoint_every, evaluate_every, log_every, devices)
    folder = None if checkpoint_dir is None else Path(checkpoint_dir)
    if seeds is None:
        return loop.run((seed,), folder)[0]
    if jax.default_backend() == "cpu":
        runs = []
        for one in seeds:
            runs += loop.run((one,), folder and folder / f"seed{one}")
            if runs[-1].steps < steps:
                break  # interrupted
        return runs
    return loop.run(seeds, folder)


@dataclass(frozen=True)
class Loop:
    """The loop of `fit`, with its arguments."""

    train: Dataset
    held_out: Dataset | None
    config: TripodConfig
    steps: int
    progress: bool | int
    checkpoint_every: int
    evaluate_every: int
    log_every: int
    devices: Sequence[jax.Device] | None

    def run(self, seeds: tuple[int, ...], folder: Path | None) -> list[Run]:
        """Train a model for each seed in one program."""
        engine = Engine(self.config, self.steps, seeds, self.devices)
        store, done, histories, earlier = None, 0, [{} for _ in seeds], 0.0
        if folder is not None:
            numbers = {"seed": seeds[0]} if len(seeds) == 1 else {"seed": list(seeds)}
            store = Checkpoints(folder, self.config, data=self.train.identity(), steps=self.steps, **numbers)
            if (restored := store.restore(engine.state)) is not None:
                done, engine.state, histories, earlier = restored
        batches = Batches(self.train, engine, done)
        clock = time.perf_counter()
        unread: list[tuple[int, int, dict[str, jax.Array]]] = []  # (steps done, how many are summed, sums)
        logged = _last(histories[0], "step")
        device = engine.state["bad"].devices().pop()
        said = Progress(done, self.steps, self.progress, f"{self.config.precision} on {device.device_kind}")

        def read(keep: int = 0) -> None:
            """Put what was summed into the histories. The latest may still be computed: without it nothing waits."""
            while len(unread) > keep:
                step, count, sums = unread.pop(0)
                for k, history in enumerate(histories):
                    means = {name: float(np.asarray(s).reshape(-1)[k]) / count for name, s in sums.items()}
                    _append(history, {"step": step} | means)
                if not all(np.isfinite(np.asarray(s)).all() for s in sums.values()):
                    self._refuse_bad(engine, batches, store)

        try:
            with deferred_interrupt() as interrupted:
                while done < self.steps and not interrupted():
                    now = min(self._next_stop(done, said), done + engine.chunk)
                    engine.advance(batches(done, now - done), done)
                    done = now
                    if done % self.log_every == 0 or done == self.steps:
                        unread.append((done, done - logged, engine.take_sums()))
                        logged = done
                        read(keep=0 if said.is_due(done) else 1)
                    score_now = self.evaluate_every and (done % self.evaluate_every == 0 or done == self.steps)
                    save_now = store is not None and (done % self.checkpoint_every == 0 or done == self.steps)
                    if score_now or save_now:
                        self._refuse_bad(engine, batches, store)
                        read()
                    if score_now:
                        for history, model in zip(histories, engine.models(), strict=True):
                            _score(history, done, model, self.held_out)
                    if save_now:
                        score = _mean_score(histories, done)
                        store.save(done, engine.state, histories, earlier + time.perf_counter() - clock, score)
                    said.update(done, _latest(histories[0]))
            self._refuse_bad(engine, batches, store)
            read()
            if done < self.steps:
                warnings.warn(f"interrupted after {done} of {self.steps} steps", stacklevel=3)
                if store is not None:
                    store.save(done, engine.state, histories, earlier + time.perf_counter() - clock)
        finally:
            said.close()
            if store is not None:
                store.close()
        seconds = earlier + time.perf_counter() - clock
        arrays = [{name: np.asarray(values) for name, values in history.items()} for history in histories]
        pairs = zip(engine.models(), arrays, strict=True)
        return [Run(model, history, self.config, done, seconds) for model, history in pairs]

    def _next_stop(self, done: int, said: Progress) -> int:
        """The next step after which there is something to do besides training."""
        every = [n for n in (self.log_every, self.checkpoint_every, self.evaluate_every) if n]
        return min(self.steps, said.next_line(done), *((done // n + 1) * n for n in every))

    def _refuse_bad(self, engine: Engine, batches: Batches, store: Checkpoints | None) -> None:
        """Raise if a step was not finite; waits for the device."""
        found = engine.first_bad_step()
        if found is None:
            return
        step, k = found
        rows = np.asarray(batches.rows(step, 1)[0])
        rows = (rows[k] if engine.stacked else rows).tolist()
        newest = None if store is None else store.newest()
        kept = "there is no checkpoint"
        if newest is not None:
            kept = f"the last good checkpoint is that of step {newest}, in {store.directory}"
        raise FloatingPointError(
            f"the loss or its gradient is not finite in step {step + 1} of {self.steps}, seed {engine.seeds[k]}; "
            f"{kept}; a lower learning_rate may help. The batch has rows {rows} of the training part"
        )


def _append(history: dict[str, list], entry: dict[str, float]) -> None:
    """Add an entry in one step, so that an interrupt leaves all of it or nothing."""
    history.update({name: [*history.get(name, ()), value] for name, value in entry.items()})


def _last(history: dict[str, list], name: str) -> int:
    """The step of the last entry, or 0."""
    return history[name][-1] if history.get(name) else 0


def _score(history: dict[str, list], step: int, model: Tripod, held_out: Dataset) -> None:
    """Append held-out scores to the history."""
    from tripod_lite.metrics import evaluate

    scores = evaluate(model, held_out, n=min(2000, len(held_out)), everything=False)
    known = {name: getattr(scores, name) for name in ("infom", "infoc", "infoe", "psnr")}
    _append(history, {"eval_step": step} | {name: value for name, value in known.items() if value is not None})


def _mean_score(histories: list[dict[str, list]], done: int) -> float | None:
    """InfoM after `done` steps, the mean over the seeds; None where it is not known."""
    known = [
        history["infom"][-1] for history in histories if history.get("infom") and _last(history, "eval_step") == done
    ]
    return float(np.mean(known)) if known else None


def _latest(history: dict[str, list]) -> str:
    return "  ".join(f"{name} {history[name][-1]:.4g}" for name in ("loss", "bce", "klm", "nhp") if name in history)
