"""Preparing: stopped at any moment and gone on, on full disks, by two processes at once, and verified later."""

import gc
import json
import os
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path

import interrupted
import pytest
from tiny_archives import check_right, tiny
from tiny_server import serving, slow, whole

from tripod_lite.datasets import rows_on_disk
from tripod_lite.datasets.real import archives
from tripod_lite.datasets.real import download as downloading
from tripod_lite.datasets.real import prepare as preparing
from tripod_lite.datasets.real.prepare import cache_dir, prepare

HELPERS = Path(interrupted.__file__).parent


@pytest.fixture(scope="module")
def small():
    return tiny("shapes3d")


@pytest.fixture(scope="module")
def server(small):
    with serving() as server:
        server.add("/file", slow(small.archive, pieces=5, pause=0.01))
        yield server


@pytest.fixture(scope="module")
def ended(tmp_path_factory, server):
    """Children that have ended, each in its way: their folder, how they ended, and what they said."""
    root = tmp_path_factory.mktemp("interrupted")
    command = [sys.executable, "interrupted.py", str(root), f"{server.url}/file", *interrupted.MOMENTS]
    run = subprocess.run(command, cwd=HELPERS, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return root, dict(line.rsplit(": ", 1) for line in run.stdout.splitlines()), run.stderr


@pytest.fixture
def parts(monkeypatch):
    """Small parts; counts the pictures that are prepared."""
    monkeypatch.setattr(preparing, "PART", interrupted.PART)
    done, original = [], preparing.prepare_rows

    def counted(builder):
        rows = original(builder)
        done.append(len(rows))
        return rows

    monkeypatch.setattr(preparing, "prepare_rows", counted)
    return done


@pytest.mark.parametrize("moment", interrupted.DONE)
def test_a_stopped_preparation_goes_on(ended, small, server, parts, moment):
    root, how, _ = ended
    assert how[moment] == ("3" if moment == "full disk" else "-9")
    note = json.loads((root / moment / "shapes3d-64" / "dataset.json").read_text())
    assert "sha256" not in note and note["written"] == interrupted.DONE[moment]
    check_right(prepare(small.at(f"{server.url}/file"), 64, data_dir=root / moment, progress=False), small)
    assert sum(parts) == 48 - interrupted.DONE[moment]
    assert sorted(path.name for path in (root / moment / "shapes3d-64").iterdir()) == [
        "dataset.json",
        "factors.npy",
        "images.npy",
    ]


def test_a_full_disk_says_so(ended):
    assert "OSError" in ended[2] or "File too large" in ended[2]


def test_two_processes_at_once(ended, small, server):
    root, how, _ = ended
    assert (how["at once 1"], how["at once 2"]) == ("0", "0")
    server.asked.clear()
    check_right(prepare(small.at(), 64, data_dir=root / "at once", progress=False), small)
    assert not server.asked


def test_a_killed_download_goes_on(tmp_path, small, monkeypatch):
    with serving() as server:
        url = server.add("/file", slow(small.archive, pieces=40, pause=0.05))
        code = (
            "import sys; from tiny_archives import tiny; from tripod_lite.datasets.real.prepare import prepare;"
            "prepare(tiny('shapes3d').at(sys.argv[1]), 64, data_dir=sys.argv[2], progress=False)"
        )
        child = subprocess.Popen([sys.executable, "-c", code, url, str(tmp_path)], cwd=HELPERS)
        part = tmp_path / "downloads" / f"{small.file.name}.part"
        while not (part.exists() and part.stat().st_size > 20_000):
            assert child.poll() is None
        child.kill()
        child.wait()
        have = part.stat().st_size
        server.asked.clear()
        server.add("/file", whole(small.archive))
        check_right(prepare(small.at(url), 64, data_dir=tmp_path, progress=False), small)
        assert server.asked == [("/file", f"bytes={have}-")]


@pytest.fixture
def disk(tmp_path):
    """A disk of a given size, mounted in memory."""
    mounted = tmp_path / "disk"
    mounted.mkdir()

    def resize(kilobytes, option="size"):
        again = "remount," if os.path.ismount(mounted) else ""
        command = ["mount", "-t", "tmpfs", "-o", f"{again}size={kilobytes}k", "tmpfs", str(mounted)]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode:
            pytest.skip(f"may not mount a small disk: {run.stderr.strip()}")
        return mounted

    yield resize
    if os.path.ismount(mounted):
        subprocess.run(["umount", str(mounted)], check=True)


def test_a_disk_that_is_too_small_is_noticed_before_the_work(disk, small, server, parts):
    root = disk(len(small.archive) // 1024 + 100)
    source = small.at(f"{server.url}/file")
    with pytest.raises(OSError, match="GB more, but its disk has"):
        prepare(source, 64, data_dir=root, progress=False)
    assert not parts and not (root / "shapes3d-64").exists()
    disk(4000)
    check_right(prepare(source, 64, data_dir=root, progress=False), small)


@pytest.mark.parametrize("room", range(50, 650, 100))
def test_a_disk_that_becomes_full(disk, small, server, parts, monkeypatch, room):
    """Full at different moments, because others write to it too: in the download, and in later and later parts."""
    root, source = disk(room), small.at(f"{server.url}/file")
    with monkeypatch.context() as patch:
        for module in (preparing, downloading):
            patch.setattr(module, "check_room", lambda *_: None)
        with pytest.raises(OSError, match="No space left on device"):
            prepare(source, 64, data_dir=root, progress=False)
    assert not list(root.rglob("parts"))
    disk(4000)
    check_right(prepare(source, 64, data_dir=root, progress=False), small)
    assert sum(parts) <= 48 + interrupted.PART  # at most one part was done twice


# What was prepared is verified.


@pytest.fixture
def prepared(tmp_path, small, server):
    prepare(small.at(f"{server.url}/file"), 64, data_dir=tmp_path, progress=False)
    return tmp_path / "shapes3d-64"


def again(prepared, small):
    return prepare(small.at(), 64, data_dir=prepared.parent, progress=False)


def test_a_second_call_only_opens(prepared, small, server, parts):
    server.asked.clear()
    check_right(again(prepared, small), small)
    assert not parts and not server.asked


@pytest.mark.parametrize("name", ["images.npy", "factors.npy"])
@pytest.mark.parametrize("how", ["a bit", "the end", "the file"])
def test_a_change_is_noticed(prepared, small, server, name, how):
    path = prepared / name
    data = bytearray(path.read_bytes())
    if how == "the file":
        path.unlink()
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes(data if how == "a bit" else data[:-1])
    with pytest.raises(ValueError, match=f"{name} is not what was prepared; remove the folder"):
        again(prepared, small)
    for file in prepared.iterdir():
        file.unlink()
    check_right(prepare(small.at(f"{server.url}/file"), 64, data_dir=prepared.parent, progress=False), small)


def test_a_note_that_cannot_be_read(prepared, small):
    (prepared / "dataset.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read; remove the folder to prepare the set anew"):
        again(prepared, small)


def test_another_archive_is_not_mixed_in(tmp_path, small, parts, monkeypatch):
    """Half of one copy and half of another would be a set that nobody published."""
    by_hand, source = tmp_path / "hand", small.at()
    by_hand.mkdir()
    other = tiny("shapes3d", pictures=255 - small.pictures)
    (by_hand / small.file.name).write_bytes(other.archive)
    original = rows_on_disk._write_all

    def interrupt(*args):
        if sum(parts) == 24:
            raise KeyboardInterrupt
        original(*args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(rows_on_disk, "_write_all", interrupt)
        prepare(source, 64, data_dir=tmp_path, manual_dir=by_hand, progress=False)
    assert json.loads((tmp_path / "shapes3d-64" / "dataset.json").read_text())["written"] == 16
    (by_hand / small.file.name).write_bytes(small.archive)
    check_right(prepare(source, 64, data_dir=tmp_path, manual_dir=by_hand, progress=False), small)


def test_sizes_are_prepared_side_by_side_from_one_download(prepared, small, server):
    server.asked.clear()
    images = prepare(small.at(), 16, data_dir=prepared.parent, progress=False).images
    assert images.shape == (48, 16, 16, 3) and not server.asked
    check_right(again(prepared, small), small)


def test_memory_holds_one_part(tmp_path, small, server, monkeypatch):
    """Of earlier parts neither the pictures are kept, nor what TensorFlow Datasets knows of them."""
    monkeypatch.setattr(preparing, "PART", 8)
    original, builders, earlier, alive = preparing.prepare_rows, [], [], []

    def watched(builder):
        alive.append(sum(picture() is not None for picture in earlier))
        earlier.extend(weakref.ref(picture) for picture, _ in builder._examples)
        builders.append(weakref.ref(builder))
        return original(builder)

    monkeypatch.setattr(preparing, "prepare_rows", watched)
    monkeypatch.setattr(archives, "BLOCK", 8)
    prepare(small.at(f"{server.url}/file"), 64, data_dir=tmp_path, progress=False)
    assert len(earlier) == 48 and max(alive) <= 1  # the generator holds the last one that it gave
    gc.collect()
    assert len(builders) == 6 and not any(builder() for builder in builders)


def test_a_progress_bar_counts_images(tmp_path, small, server, capsys):
    prepare(small.at(f"{server.url}/file"), 64, data_dir=tmp_path)
    shown = capsys.readouterr()
    assert "48/48" in shown.err and small.file.name in shown.err and not shown.out


def test_a_cache_that_cannot_be_written_to_can_be_used(prepared, small, monkeypatch):
    """As on a cluster where one copy serves everybody."""
    monkeypatch.setattr(preparing, "FileLock", lambda path: pytest.fail("the cache is locked, which writes to it"))
    check_right(again(prepared, small), small)


def test_a_set_of_other_factors_is_prepared_anew(prepared, server):
    other = tiny("shapes3d", sizes=(2, 2, 1, 1, 2, 1))
    url = server.add("/other", whole(other.archive))
    (prepared.parent / "downloads" / other.file.name).unlink()
    check_right(prepare(other.at(url), 64, data_dir=prepared.parent, progress=False), other)


def test_nothing_is_left_among_the_temporary_files(tmp_path, small, server, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    prepare(small.at(f"{server.url}/file"), 64, data_dir=tmp_path, progress=False)
    assert not list((tmp_path / "temporary").iterdir())


def test_the_cache_is_where_it_is_asked_for(monkeypatch, tmp_path):
    assert cache_dir(tmp_path) == tmp_path
    monkeypatch.setenv("TRIPOD_LITE_DATA", str(tmp_path / "variable"))
    assert cache_dir() == tmp_path / "variable"
    monkeypatch.delenv("TRIPOD_LITE_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "tripod_lite"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "tripod_lite"
    assert cache_dir("~/data") == tmp_path / "data"
