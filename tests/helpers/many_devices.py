"""A set spread over four devices of one CPU: `python many_devices.py`, which asserts and ends."""

import os

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from tiny_archives import tiny

from tripod_lite.datasets.real.dataset import Real
from tripod_lite.datasets.real.placement import gather_rows
from tripod_lite.datasets.real.prepare import Prepared

small = tiny("shapes3d", sizes=(5, 3, 1, 3, 1, 1))  # 45 pictures, which four does not divide
prepared = Prepared(small.source, small.pictures, small.factors.astype(np.int32), "0")
everywhere, host = Real(prepared, on_device=True), Real(prepared, on_device=False)
one = Real(prepared, on_device=True, devices=jax.devices()[1:2])

# One copy in all: a quarter of the rows each, and none of them twice.
stored = everywhere._images
assert [shard.data.shape for shard in stored.addressable_shards] == [(12, 64 * 64 * 3)] * 4
assert {shard.device for shard in stored.addressable_shards} == set(jax.devices())
assert {shard.device for shard in one._images.addressable_shards} == {jax.devices()[1]}

rows = jnp.asarray(np.random.default_rng(0).integers(0, 45, 16), jnp.int32)
wanted = small.pictures[np.asarray(rows)]
for ds in (everywhere, host, one):
    for n in (16, 15, 1):  # divided by four, and not
        np.testing.assert_array_equal(ds.fetch(rows[:n])[0], wanted[:n])
    np.testing.assert_array_equal(jax.jit(lambda ds, rows: ds.fetch(rows)[0])(ds, rows), wanted)

# Rows that are spread over the devices give a batch that is.
spread = jax.device_put(rows, NamedSharding(stored.sharding.mesh, P("rows")))
images, factors = jax.jit(lambda ds, rows: ds.fetch(rows))(everywhere, spread)
np.testing.assert_array_equal(images, wanted)
np.testing.assert_array_equal(factors, small.factors[np.asarray(rows)])
assert {shard.data.shape[0] for shard in images.addressable_shards} == {4}

# What travels between devices is never an array of the size of a share of the set.
program = gather_rows.lower(stored, spread, stored.sharding.mesh).compile()
travels = [line for line in program.as_text().splitlines() if "all-gather(" in line or "all-to-all(" in line]
assert not any("u8[" in line for line in travels), travels

train, _ = everywhere.split(held_out=5)
key = jax.random.key(3)
for ours, theirs in zip(train.batches(key, 8), host.split(held_out=5)[0].batches(key, 8), strict=False):
    np.testing.assert_array_equal(ours, theirs)
    break
print("done")
