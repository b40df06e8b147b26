"""What every test runs under: annotated shapes are checked, and silent broadcasting between ranks is an error."""

import os
import tempfile

import pytest
from jaxtyping import install_import_hook

# What one test has compiled the next one need not: a cache for the length of the session, which the workers and the
# kernels that they start inherit. JAX reads the variables when it is imported.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    CACHE = tempfile.TemporaryDirectory(prefix="tripod-tests-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = CACHE.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"

# The model, the loop and the checkpoints take what users give them, and their own checks are what the tests are about.
CHECKED = [
    "tripod_lite.datasets",
    "tripod_lite.legs",
    "tripod_lite.metrics",
    "tripod_lite.networks",
    "tripod_lite.scenes",
]

with install_import_hook(CHECKED, "beartype.beartype"):
    import tripod_lite  # noqa: F401

import jax  # noqa: E402, after the hook

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def x64():
    """Double precision for the length of a test."""
    with jax.enable_x64(True):
        yield
