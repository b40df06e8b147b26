"""The engine: seeds in one program, many steps a call, batches shared by devices and by processes."""

import copy
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tripod_lite as tl
from tripod_lite import engine as module
from tripod_lite.engine import Batches, Engine

CONFIG = tl.TripodConfig(n_z=3, image_size=16, size="tiny", batch_size=8, nhp_samples=2, learning_rate=1e-3)
SCRIPT = Path(__file__).parent / "helpers/train_on_devices.py"


@pytest.fixture(scope="module")
def ds():
    images, factors = tl.load_dataset("shapes3d", image_size=16).sample(jax.random.key(0), 64)
    return tl.from_images(np.asarray(images), np.asarray(factors))


def advance(engine, ds, steps, at_once=1):
    batches = Batches(ds, engine)
    for first in range(0, steps, at_once):
        count = min(at_once, steps - first)
        engine.advance(batches(first, count), first)
    return engine


def test_batches_are_the_samples_of_each_seed(ds):
    seeds = (3, 5)
    engine = Engine(CONFIG, 9, seeds)
    images = Batches(ds, engine)(4, 2)
    assert images.shape == (2, 2, 8, 16, 16, 3)
    for k, seed in enumerate(seeds):
        data_key = jax.random.split(jax.random.key(seed), 3)[1]
        for i in (4, 5):
            expected, _ = ds.sample(jax.random.fold_in(data_key, i), 8)
            np.testing.assert_array_equal(images[i - 4, k], expected)


def test_seeds_in_one_program_are_as_by_themselves(ds):
    together = advance(Engine(CONFIG, 9, (3, 5)), ds, 3)
    sums = together.take_sums()
    for k, seed in enumerate((3, 5)):
        alone = advance(Engine(CONFIG, 9, (seed,)), ds, 3)
        for name, value in alone.take_sums().items():
            assert float(sums[name][k]) == pytest.approx(float(value), rel=1e-5)
        x = jnp.linspace(-1, 1, 6).reshape(2, 3)
        np.testing.assert_allclose(together.models()[k].decode(x), alone.models()[0].decode(x), atol=1e-3)


def test_many_steps_a_call_are_single_steps(ds, monkeypatch):
    single = advance(Engine(CONFIG, 9, (0,)), ds, 5)
    monkeypatch.setattr(module, "CHUNK", 4)
    monkeypatch.setattr(jax, "default_backend", lambda: "an accelerator")
    many = advance(Engine(CONFIG, 9, (0,)), ds, 5, at_once=4)  # four, and one with three to spare
    assert many.chunk == 4
    for name, value in single.take_sums().items():
        assert float(many.state["sums"][name]) == pytest.approx(float(value), rel=1e-5)


def test_a_step_takes_its_state_over(ds):
    engine = Engine(CONFIG, 9, (0,))
    before = jax.tree.leaves(engine.state["params"])
    advance(engine, ds, 1)
    assert all(leaf.is_deleted() for leaf in before)


def test_sums_start_anew(ds):
    engine = advance(Engine(CONFIG, 9, (0,)), ds, 1)
    first = float(engine.take_sums()["loss"])
    assert float(engine.state["sums"]["loss"]) == 0
    engine.advance(Batches(ds, engine)(1, 1), 1)
    assert 0 < float(engine.take_sums()["loss"]) < 1.5 * first


def train(devices, processes=1):
    """The history of a run on simulated devices, in one process or several."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices // processes}",
    }
    commands = [[sys.executable, str(SCRIPT), str(processes), str(k), str(port)] for k in range(processes)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, env=environment, **pipes) for command in commands]
    outputs = [each.communicate(timeout=300) for each in running]
    assert [each.returncode for each in running] == [0] * processes, outputs[-1][1][-2000:]
    return json.loads(outputs[0][0].splitlines()[-1])


@pytest.fixture(scope="module")
def on_one_device():
    return train(1)


@pytest.mark.parametrize(("devices", "processes"), [(8, 1), (2, 2)])
def test_devices_and_processes_share_a_batch(devices, processes, on_one_device):
    shared = train(devices, processes)
    assert (on_one_device["devices"], shared["devices"]) == (1, devices)
    assert shared.keys() == on_one_device.keys() >= {"loss", "bce", "klm", "nhp"}
    for name, values in on_one_device.items():
        if name == "devices":
            continue
        np.testing.assert_allclose(shared[name], values, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("seeds", [(3,), (3, 5)])
def test_what_the_host_reads_ahead_is_the_same(ds, seeds):
    host = copy.copy(ds)
    host.on_device = False
    engine = Engine(CONFIG, 9, seeds)
    gathered, read = Batches(ds, engine), Batches(host, engine, start=2)
    for first, count in ((2, 1), (3, 2)):
        np.testing.assert_array_equal(read(first, count), gathered(first, count))
