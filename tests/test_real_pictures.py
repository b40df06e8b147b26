"""The same code on real pictures: sample frames of Falcor3D and Isaac3D, where they lie beside the repository."""

from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import tripod_lite as tl

REFERENCE = Path(__file__).parents[2] / "shared" / "reference"


def frames_of(folder):
    """Cut each strip, one row of square frames, into its frames."""
    strips = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(folder.glob("*.png"))]
    return np.concatenate([np.stack(np.split(strip, strip.shape[1] // strip.shape[0], axis=1)) for strip in strips])


@pytest.mark.parametrize("name", ["falcor3d", "isaac3d"])
def test_tripod_learns_real_pictures(name, tmp_path):
    folder = REFERENCE / name
    if not folder.is_dir():
        pytest.skip(f"no real frames at {folder}")
    ds = tl.from_images(frames_of(folder), image_size=32)
    assert len(ds) >= 40
    config = tl.TripodConfig.preset(name, size="tiny", batch_size=8, nhp_samples=2)
    run = tl.fit(ds, config, steps=250, progress=False, log_every=25)
    assert run.history["bce"][-1] < run.history["bce"][0] - 0.02

    images = np.asarray(ds.take(np.arange(0, len(ds), len(ds) // 12)[:12])[0]) / 255
    reconstructions = np.asarray(run.model.reconstruct(images.astype(np.float32)))
    flat = np.broadcast_to(images.mean((0, 1, 2)), images.shape)
    assert tl.psnr(reconstructions, images) > tl.psnr(flat, images) + 1.5  # far better than one flat color

    picture = tmp_path / f"{name}.png"
    tl.figures.plot_reconstructions(images, reconstructions).savefig(picture)
    assert picture.stat().st_size > 10_000
    assert jax.tree.all(jax.tree.map(lambda leaf: bool(np.isfinite(leaf).all()), reconstructions))
