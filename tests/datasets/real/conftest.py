"""A web server on this machine, and a cache."""

import pytest
from tiny_server import serving


@pytest.fixture
def server():
    with serving() as server:
        yield server


@pytest.fixture
def root(tmp_path):
    return tmp_path / "cache"
