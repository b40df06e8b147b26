"""Writing data sets to disk: everything, once, also after an interrupt."""

import json

import numpy as np
import pytest

import tripod_lite as tl


@pytest.fixture
def ds():
    rng = np.random.default_rng(0)
    return tl.from_images(rng.integers(0, 256, (50, 8, 8, 3), np.uint8), rng.integers(0, 3, (50, 2)))


def test_the_folder_holds_every_row(ds, tmp_path):
    images = tl.materialize(ds, tmp_path / "set", chunk=16, progress=False)
    wanted, factors = ds.take(np.arange(50))
    assert isinstance(images, np.memmap)
    assert (images.shape, images.dtype) == ((50, 8, 8, 3), np.uint8)
    np.testing.assert_array_equal(images, wanted)
    np.testing.assert_array_equal(np.load(tmp_path / "set" / "factors.npy"), factors)
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0


def test_an_interrupted_call_goes_on_where_it_stopped(ds, tmp_path, monkeypatch):
    fetched, whole, stop_at = [], type(ds).fetch, [0]

    def fetch(self, rows):
        if len(fetched) == stop_at[0]:
            raise KeyboardInterrupt
        fetched.append(np.asarray(rows))
        return whole(self, rows)

    monkeypatch.setattr(type(ds), "fetch", fetch)
    for chunks in (0, 2):  # before the first one is written, and later
        stop_at[0] = chunks
        with pytest.raises(KeyboardInterrupt):
            tl.materialize(ds, tmp_path, chunk=16, progress=False)
        assert json.loads((tmp_path / "dataset.json").read_text())["written"] == 16 * chunks
    stop_at[0] = None
    fetched.clear()
    images = tl.materialize(ds, tmp_path, chunk=16, progress=False)
    assert np.concatenate(fetched).tolist() == list(range(32, 50))
    monkeypatch.undo()
    np.testing.assert_array_equal(images, ds.take(np.arange(50))[0])


def test_a_complete_folder_is_only_opened(ds, tmp_path, monkeypatch):
    tl.materialize(ds, tmp_path, progress=False)
    monkeypatch.setattr(type(ds), "fetch", lambda self, rows: pytest.fail("drawn again"))
    assert len(tl.materialize(ds, tmp_path, progress=False)) == 50


def test_parts_and_twins_too(tmp_path):
    twin = tl.load_dataset("dsprites", image_size=8)
    held_out = twin.split(held_out=40)[1]
    images = tl.materialize(held_out, tmp_path, progress=False)
    np.testing.assert_array_equal(images, twin.images(np.load(tmp_path / "factors.npy")))


def test_a_progress_bar_counts_images(ds, tmp_path, capsys):
    tl.materialize(ds, tmp_path)
    assert "50/50" in capsys.readouterr().err


def test_another_data_set_is_not_overwritten(ds, tmp_path):
    tl.materialize(ds, tmp_path, progress=False)
    other = tl.from_images(np.zeros((50, 8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="path must be a new folder or hold this data set"):
        tl.materialize(other, tmp_path, progress=False)
    np.testing.assert_array_equal(np.load(tmp_path / "images.npy"), ds.take(np.arange(50))[0])
    relabeled = tl.from_images(np.asarray(ds.take(np.arange(50))[0]), np.zeros((50, 2), np.int32))
    with pytest.raises(ValueError, match="path must be a new folder or hold this data set"):
        tl.materialize(relabeled, tmp_path, progress=False)


def test_tied_factors_are_refused(tmp_path):
    tied = tl.load_dataset("dsprites", image_size=8).correlated("pos_x", "pos_y", 0.5)
    with pytest.raises(ValueError, match="ds must have no tied factors"):
        tl.materialize(tied, tmp_path, progress=False)


def test_strange_folders_are_refused(ds, tmp_path):
    file = tmp_path / "file"
    file.write_text("text")
    with pytest.raises(ValueError, match="path must be a new folder"):
        tl.materialize(ds, file, progress=False)
    np.save(tmp_path / "images.npy", np.zeros(3))
    with pytest.raises(ValueError, match="path must be a new folder"):
        tl.materialize(ds, tmp_path, progress=False)
    (tmp_path / "dataset.json").write_text('{"written": 3}')
    with pytest.raises(ValueError, match="holds None, version None"):
        tl.materialize(ds, tmp_path, progress=False)
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read; remove the folder"):
        tl.materialize(ds, tmp_path, progress=False)


def test_a_lost_file_is_noticed(ds, tmp_path):
    tl.materialize(ds, tmp_path, progress=False)
    (tmp_path / "factors.npy").unlink()
    with pytest.raises(ValueError, match="has lost a file"):
        tl.materialize(ds, tmp_path, progress=False)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"ds": np.zeros((4, 8, 8, 3))}, TypeError, "ds must be a data set, .*, got ndarray"),
        ({"chunk": 0}, ValueError, "chunk must be at least 1, got 0"),
        ({"chunk": 1.5}, TypeError, "chunk must be an integer"),
    ],
)
def test_bad_arguments(ds, tmp_path, arguments, error, message, monkeypatch):
    import jaxtyping

    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(error, match=message):
        tl.materialize(**{"ds": ds, "path": tmp_path, "progress": False} | arguments)
