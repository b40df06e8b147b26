"""Rows of a big array on the accelerators: one copy in all, however many there are."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Int, UInt8

ROOM = 2 * 2**30  # bytes left on every device for the model, its gradients and activations
AXIS = "rows"
CHUNK = 2**26  # bytes copied at once


def free_bytes(device: jax.Device) -> int | None:
    """How much memory an accelerator has left; None for a CPU, and where that cannot be told."""
    stats = None if device.platform == "cpu" else device.memory_stats()
    return stats["bytes_limit"] - stats["bytes_in_use"] if stats and "bytes_limit" in stats else None


def fits(nbytes: int, devices: list[jax.Device]) -> bool:
    """Whether an array spread over accelerators leaves `ROOM` on each.

    Never so for a CPU, whose memory keeps what was read from a memory map anyway, and where the free memory is unknown.
    """
    free = [free_bytes(device) for device in devices]
    return None not in free and nbytes / len(devices) + ROOM <= min(free)


def put_rows(rows: np.ndarray, devices: list[jax.Device]) -> UInt8[Array, "m d"]:
    """Copy an array (n, …) to the devices as (m, d), m rounded up to a multiple of their number, sharded by rows.

    Chunk by chunk into memory that is set aside first, so that neither host nor device ever holds a second copy.
    """
    flat = rows.reshape(len(rows), -1)
    mesh = Mesh(np.array(devices), (AXIS,))
    share = -(-len(flat) // len(devices))
    step = max(1, CHUNK // flat.shape[1])
    blocks = []
    for k, device in enumerate(devices):
        mine = flat[k * share : (k + 1) * share]
        with jax.default_device(device):
            block = jnp.zeros((share, flat.shape[1]), flat.dtype)
            for start in range(0, len(mine), step):
                block = _write(block, np.ascontiguousarray(mine[start : start + step]), start)
            blocks.append(jax.device_put(block, device))
    shape = (share * len(devices), flat.shape[1])
    return jax.make_array_from_single_device_arrays(shape, NamedSharding(mesh, P(AXIS)), blocks)


@partial(jax.jit, donate_argnums=0)
def _write(block: Array, chunk: Array, start: Int[Array, ""]) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(block, chunk, start, axis=0)


@partial(jax.jit, static_argnames="mesh")
def gather_rows(array: UInt8[Array, "m d"], rows: Int[Array, " n"], mesh: Mesh) -> UInt8[Array, "n d"]:
    """The given rows of what `put_rows` made.

    Over several devices, each looks up the rows that it holds, puts zeros for the others, and all are added: what
    travels is the batch, not the array. Where the devices divide n, each gets its part of the batch.
    """
    if mesh.size == 1:
        return array[rows]
    scattered = len(rows) % mesh.size == 0

    def own(mine: UInt8[Array, "s d"], rows: Int[Array, " n"]) -> UInt8[Array, "k d"]:
        place = rows - jax.lax.axis_index(AXIS) * len(mine)
        held = (place >= 0) & (place < len(mine))
        found = jnp.where(held[:, None], mine[jnp.clip(place, 0, len(mine) - 1)], jnp.uint8(0))
        return jax.lax.psum_scatter(found, AXIS, tiled=True) if scattered else jax.lax.psum(found, AXIS)

    out = P(AXIS) if scattered else P()
    return jax.shard_map(own, mesh=mesh, in_specs=(P(AXIS), P()), out_specs=out)(array, rows)
