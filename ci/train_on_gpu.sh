#!/usr/bin/env bash
# Train the whole matrix on this machine's NVIDIA GPU; arguments go to `ci/matrix.py full`. It needs what `make` needs, and
# a driver for CUDA 12.
set -euo pipefail
cd "$(dirname "$0")/.."
# Or JAX would download its CUDA libraries for nothing, or train for days on a CPU.
if ! nvidia-smi; then
    echo "ci/train_on_gpu.sh needs an NVIDIA GPU with its driver, and nvidia-smi does not answer" >&2
    exit 1
fi
make setup
.venv/bin/python -m pip install --quiet --disable-pip-version-check -c requirements.lock 'jax[cuda12]'
export JAX_PLATFORMS=cuda  # a GPU that JAX cannot use is an error
.venv/bin/python -c 'import jax; print(*jax.devices())'
exec .venv/bin/python ci/matrix.py full "$@"
