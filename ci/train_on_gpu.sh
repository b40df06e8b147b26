#!/usr/bin/env bash
# Train the whole matrix on this machine's NVIDIA GPU; arguments go to `ci/matrix.py full`. It needs what `make` needs, and
# a driver for CUDA 12.
set -euo pipefail
cd "$(dirname "$0")/.."
make setup
.venv/bin/python -m pip install --quiet --disable-pip-version-check -c requirements.lock 'jax[cuda12]'
# With no GPU this stops here, rather than train for days on a CPU.
export JAX_PLATFORMS=cuda
.venv/bin/python -c 'import jax; print(*jax.devices())'
exec .venv/bin/python ci/matrix.py full "$@"
