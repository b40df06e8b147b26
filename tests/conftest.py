"""What every test runs under: annotated shapes are checked, and silent broadcasting between ranks is an error."""

import pytest
from jaxtyping import install_import_hook

with install_import_hook("tripod_lite", "beartype.beartype"):
    import tripod_lite  # noqa: F401

import jax

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def x64():
    """Double precision for the length of a test."""
    with jax.enable_x64(True):
        yield
