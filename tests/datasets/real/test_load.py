"""`load_dataset(source="real")`: what a user sees."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_archives
from PIL import Image
from tiny_archives import ROUNDED, halved, tiny
from tiny_server import serving, whole

import tripod_lite as tl
from tripod_lite.datasets.real.sources import SOURCES, find_source

HELPERS = Path(tiny_archives.__file__).parent
REFERENCE = Path(__file__).parents[4] / "shared" / "reference"


@pytest.fixture
def published(monkeypatch, tmp_path):
    """Publish a small set in place of the real one; returns how to load it."""
    with serving() as server:

        def publish(name, variant="", **kwargs):
            key = (name, find_source(name, variant).variant)
            small = tiny(*key, **kwargs)
            monkeypatch.setitem(SOURCES, key, small.at(server.add(f"/{small.file.name}", whole(small.archive))))
            return small

        monkeypatch.setenv("TRIPOD_LITE_DATA", str(tmp_path))
        yield publish


@pytest.mark.parametrize("name", tl.DATASETS)
def test_every_set_has_a_real_source(published, name):
    small = published(name)
    ds = tl.load_dataset(name, source="real", progress=False)
    assert (ds.name, len(ds), ds.factor_names) == (name, len(small.factors), tl.load_dataset(name).factor_names)
    images, factors = ds.take(np.arange(4))
    wanted = small.pictures[:4] if small.pictures.shape[1] == 64 else halved(small.pictures[:4])
    assert np.abs(np.asarray(images) - wanted).max() < ROUNDED
    np.testing.assert_array_equal(factors, small.factors[:4])


def test_variants_of_mpi3d_are_different_sets(published):
    loaded = {}
    for variant in ("", "real_complex", "toy", "realistic", "real"):
        shade = len(variant or "real_complex")
        small = published("mpi3d", variant, pictures=np.full((48, 64, 64, 3), shade, np.uint8))
        loaded[variant] = tl.load_dataset("mpi3d", "real", variant=variant, progress=False)
        assert len(small.factors) == len(loaded[variant]) == 48
    values = {variant: int(ds.take([0])[0][0, 0, 0, 0]) for variant, ds in loaded.items()}
    assert values == {"": 12, "real_complex": 12, "toy": 3, "realistic": 9, "real": 4}
    assert loaded[""].identity() == loaded["real_complex"].identity()
    assert len({str(ds.identity()) for ds in loaded.values()}) == 4


def test_a_real_set_is_not_mistaken_for_its_twin(published):
    published("shapes3d")
    ds = tl.load_dataset("shapes3d", "real", progress=False)
    identity = ds.identity()
    assert identity["source"] == "real" and len(identity["images_sha256"]) == 64
    assert "source" not in tl.load_dataset("shapes3d").identity()
    assert ds.split()[0].identity()["source"] == "real"


def test_the_published_sets_are_what_the_papers_say():
    numbers = {key: (len(source), source.picture_size) for key, source in SOURCES.items()}
    assert numbers == {
        ("shapes3d", ""): (480_000, 64),
        ("mpi3d", "real_complex"): (460_800, 64),
        ("mpi3d", "toy"): (1_036_800, 64),
        ("mpi3d", "realistic"): (1_036_800, 64),
        ("mpi3d", "real"): (1_036_800, 64),
        ("falcor3d", ""): (233_280, 128),
        ("isaac3d", ""): (737_280, 128),
        ("dsprites", ""): (737_280, 64),
    }
    assert all(url.startswith("https://") for source in SOURCES.values() for file in source.files for url in file.urls)


def test_what_is_held_out_is_held_out(published):
    published("shapes3d")
    ds = tl.load_dataset("shapes3d", "real", progress=False)
    train, held_out = ds.split(held_out=12)
    pictures = [
        {picture.tobytes() for picture in np.asarray(part.take(np.arange(len(part)))[0])} for part in (train, held_out)
    ]
    assert (len(pictures[0]), len(pictures[1])) == (36, 12) and pictures[0].isdisjoint(pictures[1])
    drawn = np.concatenate(
        [np.asarray(batch) for _, batch in zip(range(30), train.batches(jax.random.key(0), 16), strict=False)]
    )
    assert {picture.tobytes() for picture in drawn} == pictures[0]


def test_the_paper_s_habit_scores_on_training_images(published):
    published("shapes3d")
    ds = tl.load_dataset("shapes3d", "real", progress=False)
    train, seen = ds.paper_split(seen=12)
    assert (train.part, len(train), seen.part, len(seen)) == ("train", 48, "seen", 12)
    np.testing.assert_array_equal(train.take(np.arange(48))[0], ds.take(np.arange(48))[0])
    assert bool(train.holds(jnp.arange(48)).all())
    held_out = ds.split(held_out=12)[1]
    np.testing.assert_array_equal(seen.take(np.arange(12))[0], held_out.take(np.arange(12))[0])
    with pytest.raises(ValueError, match="seen must be at most 47, got 48"):
        ds.paper_split(seen=48)
    drawn = np.asarray(train.sample(jax.random.key(0), 2000)[1])
    assert len({tuple(row) for row in drawn.tolist()}) == 48


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"source": "real", "variant": "toys"},
            ValueError,
            "variant of the real mpi3d must be one of 'real_complex', 'toy'",
        ),
        ({"source": "real", "image_size": 7}, ValueError, "image_size must be at least 8, got 7"),
        ({"source": "real", "image_size": "64"}, TypeError, "image_size must be an integer"),
        ({"source": "twin", "data_dir": "x"}, ValueError, "data_dir is for source='real'"),
        ({"source": "twin", "manual_dir": "x"}, ValueError, "manual_dir is for source='real'"),
        ({"source": "twin", "on_device": True}, ValueError, "on_device is for source='real'"),
        ({"source": "twin", "variant": "realistic"}, ValueError, "variant of mpi3d must be one of 'toy', or empty"),
    ],
)
def test_bad_arguments(arguments, error, message, monkeypatch):
    import jaxtyping

    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(error, match=message):
        tl.load_dataset("mpi3d", **arguments)


def test_sets_without_variants_say_so():
    with pytest.raises(ValueError, match="variant of the real falcor3d must be one of none, or empty, got 'toy'"):
        tl.load_dataset("falcor3d", "real", variant="toy")


LOAD = """
import sys
from tiny_archives import tiny
from tripod_lite.datasets.real.sources import SOURCES
SOURCES["shapes3d", ""] = tiny("shapes3d").at()
import tripod_lite as tl
"""


def run(code, *arguments, path=()):
    import os

    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*map(str, path), str(HELPERS)])}
    command = [sys.executable, "-c", LOAD + code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


def test_tensorflow_is_never_imported(tmp_path):
    """Even where it is installed: here a package of that name ends the process."""
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text("import os; os._exit(77)")
    (tmp_path / "manual").mkdir()
    small = tiny("shapes3d")
    (tmp_path / "manual" / small.file.name).write_bytes(small.archive)
    code = """
ds = tl.load_dataset("shapes3d", "real", data_dir=sys.argv[1], on_device=False, progress=False)
print(next(ds.batches(__import__("jax").random.key(0), 4)).shape, "tensorflow_datasets" in sys.modules)
"""
    done = run(code, tmp_path, path=[tmp_path])
    assert (done.returncode, done.stdout) == (0, "(4, 64, 64, 3) True\n"), done.stderr
    assert run("import tensorflow", path=[tmp_path]).returncode == 77


def test_twins_import_none_of_it():
    code = """
tl.load_dataset("shapes3d", image_size=8)
print({"tensorflow_datasets", "grain", "requests"} & set(sys.modules))
"""
    assert run(code).stdout == "set()\n"


@pytest.mark.parametrize("missing", ["tensorflow_datasets", "filelock", "requests"])
def test_a_missing_package_is_named(tmp_path, missing):
    code = f"""
sys.modules[{missing!r}] = None
try:
    tl.load_dataset("shapes3d", "real", data_dir=sys.argv[1])
except ImportError as error:
    print(error)
"""
    assert run(code, tmp_path).stdout == f"source='real' needs {missing}: pip install 'tripod-lite[datasets]'\n"


def strips(name):
    folder = REFERENCE / name
    if not folder.is_dir():
        pytest.skip(f"no real frames at {folder}")
    for path in sorted(folder.glob("*.png")):
        strip = np.asarray(Image.open(path).convert("RGB"))
        yield int(path.name.split("_")[0]), np.stack(np.split(strip, strip.shape[1] // strip.shape[0], axis=1))


@pytest.mark.parametrize("name", ["falcor3d", "isaac3d"])
def test_real_frames_in_the_original_layout(published, tmp_path, name):
    """Each strip is a set in which one factor takes all its values."""
    published_sizes = SOURCES[name, ""].factor_sizes
    seen = []
    for factor, frames in strips(name):
        assert frames.shape[1:] == (128, 128, 3)
        sizes = tuple(len(frames) if k == factor else 1 for k in range(len(published_sizes)))
        published(name, sizes=sizes, pictures=frames)
        ds = tl.load_dataset(name, "real", data_dir=tmp_path / str(factor), progress=False)
        images, factors = ds.take(np.arange(len(frames)))
        np.testing.assert_array_equal(factors[:, factor], np.arange(len(frames)))
        difference = np.abs(np.asarray(images) - halved(frames))
        assert difference.max() < 8 and (difference > ROUNDED).mean() < 0.01  # where PIL clips between its two passes
        seen.append(len(frames))
    assert tuple(seen) == published_sizes
