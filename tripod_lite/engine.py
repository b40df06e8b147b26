"""The compiled training step: for one model or for several seeds at once, on one device or on many.

State is a pytree: "params" and "optimizer"; "sums", the parts of the loss summed since they were last taken; "bad", the
first step whose loss or gradient was not finite, or -1. Of several seeds every leaf has a leading axis. A step donates
the state it is given, so that parameters and moments are in memory once.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, PRNGKeyArray, UInt8

from tripod_lite.autoencoder import Tripod, TripodConfig
from tripod_lite.datasets import Dataset
from tripod_lite.optimizers import optimizer, penalty_strength

State = dict[str, Any]
CHUNK = 50  # steps a dispatch on accelerators; their images are in memory together


def make_step(config: TripodConfig, graph: nnx.GraphDef, steps: int) -> Callable[..., State]:
    """The step of one model, not yet compiled.

    Returns:
        step(state, images, probe_key, i) → state: `images` uint8 of shape (b, h, w, 3), `i` the number of the step.
    """
    method, strength = optimizer(config, steps), penalty_strength(config, steps)

    def step(state: State, images: UInt8[Array, "b h w 3"], probe_key: PRNGKeyArray, i: Int[Array, ""]) -> State:
        def objective(params: nnx.State) -> tuple[Array, dict[str, Array]]:
            model = nnx.merge(graph, params)
            return model.loss(images, jax.random.fold_in(probe_key, i), strength=strength(i))

        (loss, parts), gradient = jax.value_and_grad(objective, has_aux=True)(state["params"])
        updates, moments = method.update(gradient, state["optimizer"], state["params"])
        finite = jnp.stack([jnp.isfinite(each).all() for each in (loss, *jax.tree.leaves(gradient))]).all()
        return {
            "params": optax.apply_updates(state["params"], updates),
            "optimizer": moments,
            "sums": jax.tree.map(jnp.add, state["sums"], {"loss": loss} | parts),
            "bad": jnp.where(finite | (state["bad"] >= 0), state["bad"], i),
        }

    return step


class Engine:
    """The state of a training run, and what advances it.

    On the CPU every step is a call, since XLA's loops run convolutions slowly there; elsewhere `CHUNK` steps are. With
    several devices each holds the whole state and a share of every batch; XLA sums over shares what a step computes
    from the batch: losses, σ and the multiinformation are those of the whole batch.

    Args:
        config: the configuration.
        steps: all steps of the run, which the schedules span.
        seeds: one model is trained for each, in one program where there are several.
        devices: to share each batch among; None: all, where the batch can be divided by their number, else the first.

    Raises:
        ValueError: a batch that the devices cannot share.

    Attributes:
        state: see the module.
    """

    def __init__(
        self, config: TripodConfig, steps: int, seeds: Sequence[int], devices: Sequence[jax.Device] | None = None
    ):
        self.config, self.seeds, self.stacked = config, tuple(seeds), len(seeds) > 1
        self.sharding = _batch_sharding(config.batch_size, devices, axis=2 if self.stacked else 1)
        keys = [jax.random.split(jax.random.key(seed), 3) for seed in self.seeds]
        states = []
        for init_key, _, _ in keys:
            self.graph, params = nnx.split(Tripod(config, rngs=nnx.Rngs(init_key)))
            parts = ["loss", "bce"] + ["klm"] * (config.lambda_klm > 0) + ["nhp"] * (config.lambda_nhp > 0)
            moments = optimizer(config, steps).init(params)
            sums = {part: jnp.zeros(()) for part in parts}  # each its own, to be donated
            states.append({"params": params, "optimizer": moments, "sums": sums, "bad": jnp.int32(-1)})
        stack = (lambda *leaves: jnp.stack(leaves)) if self.stacked else (lambda leaf: leaf)
        self.data_keys, self._probe_keys = (stack(*(key[n] for key in keys)) for n in (1, 2))
        self.state = self.place(jax.tree.map(stack, *states))

        step = make_step(config, self.graph, steps)
        if self.stacked:
            step = jax.vmap(step, in_axes=(0, 0, 0, None))

        def run(state: State, images: Array, probe_keys: PRNGKeyArray, first: Array, count: Array) -> State:
            return jax.lax.fori_loop(0, count, lambda j, s: step(s, images[j], probe_keys, first + j), state)

        self.chunk = 1 if jax.default_backend() == "cpu" else CHUNK
        placed = {} if self.sharding is None else {"out_shardings": self._everywhere()}
        self._run = jax.jit(run, donate_argnums=0, **placed)
        self._step = jax.jit(lambda state, images, *rest: step(state, images[0], *rest), donate_argnums=0, **placed)

    def advance(self, images: UInt8[Array, "n ..."], first: int) -> None:
        """Do n steps, the first of which has number `first`.

        Args:
            images: as `batches` gives them, at most `chunk` batches.
            first: how many steps came before.
        """
        count = len(images)
        if self.chunk == 1:
            self.state = self._step(self.state, images, self._probe_keys, np.int32(first))
            return
        if count < self.chunk:  # padded, so that one program serves every count
            images = jnp.pad(images, ((0, self.chunk - count), *((0, 0),) * (images.ndim - 1)))
        self.state = self._run(self.state, images, self._probe_keys, np.int32(first), np.int32(count))

    def place(self, state: State) -> State:
        """The state on the devices, all of it on each."""
        if self.sharding is None:
            return state
        return jax.jit(lambda leaves: leaves, out_shardings=self._everywhere())(jax.device_get(state))

    def _everywhere(self) -> NamedSharding:
        return NamedSharding(self.sharding.mesh, PartitionSpec())

    def take_sums(self) -> dict[str, Array]:
        """The sums since the last call, still on the device; they start anew."""
        sums = self.state["sums"]
        self.state = self.state | {"sums": jax.tree.map(jnp.zeros_like, sums)}
        return sums

    def first_bad_step(self) -> tuple[int, int] | None:
        """The first step that was not finite and the place of its seed, or None; waits for the device."""
        bad = np.asarray(self.state["bad"]).reshape(-1)
        return min(((int(step), k) for k, step in enumerate(bad) if step >= 0), default=None)

    def models(self) -> list[Tripod]:
        """The models as they are now, one a seed, on the default device."""
        params = jax.device_get(self.state["params"])
        each = [jax.tree.map(lambda p, k=k: p[k], params) for k in range(len(self.seeds))] if self.stacked else [params]
        return [nnx.merge(self.graph, jax.tree.map(jnp.asarray, one)) for one in each]


class Batches:
    """The images of each step: step i of a seed takes `ds.sample(fold_in(key, i), b)`.

    They are drawn or gathered on the device, or, where the data set is not there, read by the host: ahead for one
    device, when they are asked for where several share a batch.

    Args:
        ds: where they come from.
        engine: whose keys and devices they are for.
        start: the first step.
    """

    def __init__(self, ds: Dataset, engine: Engine, start: int = 0):
        self._ds, self._keys, self._sharding = ds, engine.data_keys, engine.sharding
        self._stacked, b = engine.stacked, engine.config.batch_size
        self._streams = []
        if not ds.on_device and engine.sharding is None:
            keys = self._keys if self._stacked else self._keys[None]
            self._streams = [ds.batches(key, b, start) for key in keys]

        @jax.jit
        def rows(ds: Dataset, keys: PRNGKeyArray, steps: Int[Array, " n"]) -> Int[Array, "n ..."]:
            draw = lambda key, i: ds.rows(jax.random.fold_in(key, i), b)  # noqa: E731
            over_seeds = jax.vmap(draw, in_axes=(0, None)) if engine.stacked else draw
            return jax.vmap(over_seeds, in_axes=(None, 0))(keys, steps)

        self._rows = rows

    def rows(self, first: int, count: int) -> Int[Array, "n ..."]:
        """The rows of the data set in the batches of `count` steps, shape (count, b), or (count, seeds, b)."""
        return self._rows(self._ds, self._keys, jnp.arange(first, first + count))

    def __call__(self, first: int, count: int) -> UInt8[Array, "n ..."]:
        """The images of `count` steps: uint8 of shape (count, b, h, w, 3), or (count, seeds, b, h, w, 3).

        Args:
            first: how many steps came before; the one at which the last call ended.
            count: how many steps.
        """
        if self._streams:
            each = [jnp.stack([next(stream) for stream in self._streams]) for _ in range(count)]
            return jnp.stack(each) if self._stacked else jnp.concatenate(each)
        rows = self.rows(first, count)
        if self._sharding is not None:  # the columns of this process's devices
            mine, of = jax.process_index(), jax.process_count()
            rows = jnp.split(rows, of, axis=-1)[mine]
        images = self._ds.fetch(rows.reshape(-1))[0].reshape(*rows.shape, *self._ds.image_shape)
        return images if self._sharding is None else _spread(images, self._sharding, axis=rows.ndim - 1)


def _batch_sharding(batch_size: int, devices: Sequence[jax.Device] | None, axis: int) -> NamedSharding | None:
    """How images with their batch on `axis` lie on the devices; None: on the default one."""
    if devices is not None and jax.process_count() > 1:
        raise ValueError("devices must be None in a run of several processes, which takes the devices of all")
    chosen = jax.devices() if devices is None else list(devices)
    if devices is not None and (not chosen or batch_size % len(chosen)):
        raise ValueError(
            f"cfg.batch_size must be a multiple of the number of devices, got {batch_size} for {len(chosen)}"
        )
    if (len(chosen) == 1 and devices is None) or batch_size % len(chosen):
        if jax.process_count() > 1:
            raise ValueError(f"cfg.batch_size must be a multiple of {len(chosen)}, the devices of all processes")
        return None
    return NamedSharding(Mesh(np.array(chosen), ("batch",)), PartitionSpec(*[None] * axis, "batch"))


def _spread(images: Array, sharding: NamedSharding, axis: int) -> Array:
    """Images of this process, a piece to each of its devices, as part of the images of all processes."""
    mine = [device for device in sharding.mesh.devices.flat if device.process_index == jax.process_index()]
    pieces = [
        jax.device_put(piece, device) for piece, device in zip(jnp.split(images, len(mine), axis), mine, strict=True)
    ]
    shape = list(images.shape)
    shape[axis] *= jax.process_count()
    return jax.make_array_from_single_device_arrays(tuple(shape), sharding, pieces)
