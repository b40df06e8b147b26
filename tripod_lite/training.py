"""Training: one loop for every configuration, with checkpoints that resume to the same result."""

import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import optax
from flax import nnx
from optax.contrib import MuonDimensionNumbers, muon

from tripod_lite.autoencoder import Tripod, TripodConfig
from tripod_lite.checkpoints import Checkpoints
from tripod_lite.checks import check_count
from tripod_lite.datasets import Dataset


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


def optimizer(config: TripodConfig, steps: int) -> optax.GradientTransformation:
    """The optimizer that `config` names, on gradients clipped elementwise to [-1, 1]; the schedule spans `steps`.

    "adam" is the released code's. "muon" gives every kernel, as a matrix from what it reads to what it writes, a step
    with all singular values near one, scaled to the size of Adam's so that rates carry over. The first and the last
    kernels are not excepted, as they often are. All other parameters take Adam's steps, with Nesterov momentum.

    Source: Jordan et al., *Muon* (2024); the scale: Liu et al., *Muon is scalable for LLM training* (2025).
    """
    rate: float | optax.Schedule = config.learning_rate
    if config.schedule == "cosine":
        warm_up = max(1, steps // 50)
        rate = optax.warmup_cosine_decay_schedule(0.0, config.learning_rate, warm_up, max(steps, warm_up + 1))
    if config.optimizer == "muon":
        method = muon(rate, consistent_rms=0.2, muon_weight_dimension_numbers=_kernels)
    else:
        method = optax.adam(rate)
    return optax.chain(optax.clip(1.0), method)


def _kernels(params: nnx.State) -> nnx.State:
    """Which axes of each parameter are read and written, for dense and convolution kernels; None for all others."""

    def axes(leaf: jax.Array) -> MuonDimensionNumbers | None:
        if leaf.ndim not in (2, 4):  # scales, shifts and biases are vectors; the decoder's constant is a picture
            return None
        return MuonDimensionNumbers(tuple(range(leaf.ndim - 1)), leaf.ndim - 1)

    return jax.tree.map(axes, params)


def fit(
    ds: Dataset,
    cfg: TripodConfig,
    *,
    steps: int,
    seed: int = 0,
    checkpoint_dir: str | Path | None = None,
    progress: bool | int = True,
    checkpoint_every: int = 1000,
    evaluate_every: int = 0,
    log_every: int = 50,
) -> Run:
    """Train a Tripod.

    Args:
        ds: a data set, trained on its training part and scored on its held-out part (`ds.split()`), or a part.
        cfg: the configuration.
        steps: optimization steps in all, those before a resume included.
        seed: decides parameters, batches and probes. The same seed gives the same run, resumed or not.
        checkpoint_dir: where to save; where it holds a checkpoint of the same run, training goes on from there.
        progress: True for a progress bar (lines where there is neither terminal nor notebook), N for a line every N
            steps, False for silence.
        checkpoint_every: steps between checkpoints; one more is saved at the end and on an interrupt.
        evaluate_every: steps between held-out scores (0: none). Each takes some seconds.
        log_every: steps between entries of the history.

    Returns:
        `Run(model, history, config, steps, seconds)`. An interrupt (Ctrl-C, the stop button) warns, saves, and returns
        what there is.

    Raises:
        TypeError, ValueError: arguments of the wrong kind, a data set of another image size than the
            configuration's, or a checkpoint that belongs to another data set, configuration, seed or number of steps.
    """
    for name, value, least in (
        ("steps", steps, 1),
        ("seed", seed, 0),
        ("checkpoint_every", checkpoint_every, 1),
        ("evaluate_every", evaluate_every, 0),
        ("log_every", log_every, 1),
    ):
        check_count(name, value, least)
    if not isinstance(progress, bool):
        check_count("progress", progress, 0)
    if not all(hasattr(ds, name) for name in ("sample", "image_size", "part", "identity")):
        raise TypeError(f"ds must be a data set, from load_dataset or from_images, got {type(ds).__name__}")
    if not isinstance(cfg, TripodConfig):
        raise TypeError(f"cfg must be a TripodConfig, got {type(cfg).__name__}")
    if ds.image_size != cfg.image_size:
        raise ValueError(f"ds has images of size {ds.image_size}, but cfg.image_size is {cfg.image_size}")
    train, held_out = ds.split() if ds.part == "all" else (ds, None)
    if evaluate_every and held_out is None:
        raise ValueError("evaluate_every needs a whole data set, which fit splits; got a part of one")

    init_key, data_key, probe_key = jax.random.split(jax.random.key(seed), 3)
    model = Tripod(cfg, rngs=nnx.Rngs(init_key))
    graph, params = nnx.split(model)
    method = optimizer(cfg, steps)
    state = {"params": params, "optimizer": method.init(params)}
    store = None
    if checkpoint_dir is not None:
        store = Checkpoints(checkpoint_dir, cfg, data=train.identity(), seed=seed, steps=steps)
    start, history, pending, earlier = 0, {}, [], 0.0
    if store is not None and (restored := store.restore(state)) is not None:
        start, state, history, pending, earlier = restored

    strength = optax.cosine_decay_schedule(1.0, steps) if cfg.penalty_schedule == "cosine" else lambda _: 1.0

    @jax.jit
    def step(state: dict, images: jax.Array, key: jax.Array, i: jax.Array) -> tuple[dict, dict]:
        def objective(params: nnx.State) -> tuple[jax.Array, dict]:
            return nnx.merge(graph, params).loss(images, key, strength=strength(i))

        (loss, parts), gradient = jax.value_and_grad(objective, has_aux=True)(state["params"])
        updates, moments = method.update(gradient, state["optimizer"], state["params"])
        return {"params": optax.apply_updates(state["params"], updates), "optimizer": moments}, {"loss": loss} | parts

    clock = time.perf_counter()
    done = start

    def seconds() -> float:
        return earlier + time.perf_counter() - clock

    try:
        if evaluate_every and start and _score_is_due(history, start, steps, evaluate_every):
            _score(history, start, nnx.merge(graph, state["params"]), held_out)  # the interrupt came before it
        for i in _progress(range(start, steps), steps, progress, history):
            images, _ = train.sample(jax.random.fold_in(data_key, i), cfg.batch_size)
            new_state, parts = step(state, images, jax.random.fold_in(probe_key, i), i)
            pending.append(parts)
            done, state = i + 1, new_state  # together, so that an interrupt finds both or neither
            if done % log_every == 0 or done == steps:
                _log(history, done, pending)
            if evaluate_every and _score_is_due(history, done, steps, evaluate_every):
                _score(history, done, nnx.merge(graph, state["params"]), held_out)
            if store is not None and (done % checkpoint_every == 0 or done == steps):
                store.save(done, state, history, pending, seconds())
    except KeyboardInterrupt:
        warnings.warn(f"interrupted after {done} of {steps} steps", stacklevel=2)
        if store is not None:
            store.save(done, state, history, pending[: done - _last(history, "step")], seconds())
    finally:
        if store is not None:
            store.close()
    arrays = {name: np.asarray(values) for name, values in history.items()}
    return Run(nnx.merge(graph, state["params"]), arrays, cfg, done, seconds())


def _log(history: dict[str, list], step: int, pending: list[dict[str, jax.Array]]) -> None:
    """Move the pending parts, averaged, into the history."""
    _append(history, {"step": step} | {name: float(np.mean([parts[name] for parts in pending])) for name in pending[0]})
    pending.clear()


def _append(history: dict[str, list], entry: dict[str, float]) -> None:
    """Add an entry in one step, so that an interrupt leaves all of it or nothing."""
    history.update({name: [*history.get(name, ()), value] for name, value in entry.items()})


def _last(history: dict[str, list], name: str) -> int:
    """The step of the last entry, or 0."""
    return history[name][-1] if history.get(name) else 0


def _score_is_due(history: dict[str, list], done: int, steps: int, every: int) -> bool:
    return (done % every == 0 or done == steps) and _last(history, "eval_step") != done


def _score(history: dict[str, list], step: int, model: Tripod, held_out: Dataset) -> None:
    """Append held-out scores to the history."""
    from tripod_lite.metrics import evaluate

    scores = evaluate(model, held_out, n=min(2000, len(held_out)), everything=False)
    known = {name: getattr(scores, name) for name in ("infom", "infoc", "infoe", "psnr")}
    _append(history, {"eval_step": step} | {name: value for name, value in known.items() if value is not None})


def _progress(todo: range, steps: int, progress: bool | int, history: dict[str, list]) -> Iterator[int]:
    """Yield the steps to do, and say how far we are: a bar, a line every N steps, or nothing."""
    if progress is True and (sys.stderr.isatty() or "ipykernel" in sys.modules):
        from tqdm.auto import tqdm

        with tqdm(todo, initial=todo.start, total=steps, unit="step") as bar:
            for i in bar:
                if history.get("step", [None])[-1] == i:
                    bar.set_postfix_str(_latest(history))
                yield i
        return
    every = max(1, steps // 20) if progress is True else int(progress)
    clock = time.perf_counter()
    for i in todo:
        yield i
        if every and ((i + 1) % every == 0 or i + 1 == steps):
            rate = (time.perf_counter() - clock) / (i + 1 - todo.start)
            print(f"step {i + 1}/{steps}  {_latest(history)}  {rate:.3f} s/step", flush=True)


def _latest(history: dict[str, list]) -> str:
    return "  ".join(f"{name} {history[name][-1]:.4g}" for name in ("loss", "bce", "klm", "nhp") if name in history)
