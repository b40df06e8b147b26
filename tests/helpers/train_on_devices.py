"""Train a few steps on as many devices as there are, and print the losses: `test_engine` runs this in processes."""

import json
import sys

import jax
import numpy as np

processes, process, port = map(int, sys.argv[1:4])
if processes > 1:
    jax.distributed.initialize(f"localhost:{port}", processes, process)

import tripod_lite as tl  # noqa: E402, JAX wants to know of the other processes first

pictures = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), np.uint8)
smooth = np.asarray(jax.image.resize(pictures[:, :4, :4] / 255, (64, 16, 16, 3), "linear"), np.float32).clip(0, 1)
config = tl.TripodConfig(n_z=3, image_size=16, size="tiny", batch_size=16, estimator="leave_one_out", lambda_klm=1e-2)
run = tl.fit(tl.from_images(smooth).split()[0], config, steps=6, progress=False, log_every=1)
if process == 0:
    print(json.dumps({"devices": jax.device_count()} | {name: v.tolist() for name, v in run.history.items()}))
