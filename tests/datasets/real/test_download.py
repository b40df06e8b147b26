"""What goes wrong with downloads: each is a clear error, and the next call gets the right images."""

import socket
import time
from dataclasses import replace

import pytest
from small_sets import check_no_bad_cache, get, small_of
from tiny_archives import check_right, tiny
from tiny_server import claiming, cut, first_then, page, silent, slow, status, whole

from tripod_lite.datasets.real import download
from tripod_lite.datasets.real.archives import ArchiveError
from tripod_lite.datasets.real.download import DownloadError


def test_a_slow_download_arrives(server, root):
    small = small_of("h5")
    check_right(get(small.at(server.add("/file", slow(small.archive)), size=len(small.archive)), root), small)


@pytest.mark.parametrize("kind", ["h5", "npz", "pngs"])
def test_a_download_that_is_cut_off_goes_on_within_the_call(server, root, kind):
    small = small_of(kind)
    step = len(small.archive) // 3
    check_right(get(small.at(server.add("/file", cut(small.archive, step, times=3))), root), small)
    starts = [asked and int(asked[6:-1]) for _, asked in server.asked]
    assert starts[0] is None and starts[1:] == sorted(starts[1:]) and starts[1] >= 1  # each from where it stopped


def test_a_download_goes_on_in_the_next_call(server, root):
    small = small_of("npz")
    source = small.at(server.add("/file", first_then(cut(small.archive, 30_000, times=1), status(503))))
    with pytest.raises(DownloadError, match="503"):
        get(source, root)
    part = root / "downloads" / f"{small.file.name}.part"
    assert part.read_bytes() == small.archive[: 30_000 - 30_000 % download.CHUNK]
    server.asked.clear()
    resumed = part.stat().st_size
    server.add("/file", whole(small.archive))
    check_right(get(source, root), small)
    assert server.asked == [("/file", f"bytes={resumed}-")]
    assert not part.exists()


def test_a_server_that_cannot_resume_starts_over(server, root):
    small = small_of("npz")
    part = root / "downloads" / f"{small.file.name}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"PK\x03\x04 something else")
    check_right(get(small.at(server.add("/file", whole(small.archive, ranges=False))), root), small)


def test_a_part_that_is_already_whole_is_used(server, root):
    small = small_of("npz")
    part = root / "downloads" / f"{small.file.name}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(small.archive)
    check_right(get(small.at(server.add("/file", whole(small.archive))), root), small)


def test_a_part_longer_than_the_file_is_thrown_away(server, root):
    small = small_of("npz")
    part = root / "downloads" / f"{small.file.name}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(small.archive + b"more")
    with pytest.raises(DownloadError, match="bytes had arrived before, but the file has"):
        get(small.at(server.add("/file", whole(small.archive))), root)
    check_no_bad_cache(server, root, small)


def test_mirrors_are_tried_in_order(server, root):
    small = small_of("h5")
    bad = [server.add("/gone", status(404)), server.add("/broken", status(500)), server.add("/page", page("<html>no"))]
    check_right(get(small.at(*bad, server.add("/good", whole(small.archive))), root), small)
    assert [path for path, _ in server.asked] == ["/gone", "/broken", "/page", "/good"]


def test_a_second_mirror_goes_on_where_the_first_stopped(server, root):
    small = small_of("h5")
    first = server.add("/one", first_then(cut(small.archive, 20_000, times=1), status(503)))
    check_right(get(small.at(first, server.add("/two", whole(small.archive)), size=len(small.archive)), root), small)
    assert server.asked[-1] == ("/two", f"bytes={20_000 - 20_000 % download.CHUNK}-")


def test_a_connection_that_breaks_often_is_enough(server, root):
    small = small_of("h5")
    check_right(get(small.at(server.add("/file", cut(small.archive, 9000))), root), small)
    assert len(server.asked) >= len(small.archive) // 9000


def test_a_connection_that_brings_nothing_more_is_not(server, root):
    small = small_of("h5")
    source = small.at(server.add("/file", cut(small.archive, 20_000, ranges=False)))
    with pytest.raises(DownloadError, match="IncompleteRead"):
        get(source, root)
    assert len(server.asked) == 2
    check_no_bad_cache(server, root, small, downloads=[f"downloads/{small.file.name}.part"])


def test_another_file_is_tried_when_the_first_cannot_be_had(server, root):
    small, other = tiny("dsprites"), tiny("dsprites", which_file=1)
    files = (
        replace(small.file, urls=(server.add("/a", status(404)),)),
        replace(other.file, urls=(server.add("/b", whole(other.archive)),)),
    )
    check_right(get(replace(small.source, files=files), root), small)


@pytest.mark.parametrize("kind", ["h5", "npz", "pngs"])
def test_a_page_instead_of_the_file(server, root, kind):
    small = small_of(kind)
    answer = page("<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head></html>")
    with pytest.raises(
        DownloadError, match="a web page came instead of the file, titled 'Google Drive - Quota exceeded'"
    ):
        get(small.at(server.add("/file", answer)), root)
    check_no_bad_cache(server, root, small)


def test_a_page_that_does_not_say_so(server, root):
    small = small_of("npz")
    with pytest.raises(DownloadError, match="web page"):
        get(small.at(server.add("/file", whole(b"\n <html><title>Sorry</title>"))), root)
    check_no_bad_cache(server, root, small)


def test_the_question_about_large_files_is_answered(server, root):
    small = small_of("pngs")
    form = """<html><title>Virus scan warning</title><form id="download-form" action="/really" method="get">
        <input type="submit" value="Download anyway"/><input type="hidden" name="id" value="1X">
        <input type="hidden" name="confirm" value="t"><input type="hidden" name="uuid" value="a b"></form></html>"""
    server.add("/really", whole(small.archive))
    check_right(get(small.at(server.add("/uc", page(form))), root), small)
    assert [path for path, _ in server.asked] == ["/uc", "/really?id=1X&confirm=t&uuid=a+b"]


def test_a_form_that_leads_elsewhere_is_not_followed(server, root):
    small = small_of("pngs")
    fields = '<input type="hidden" name="id" value="1"><input type="hidden" name="confirm" value="t">'
    form = f'<html><form action="http://example.invalid/x">{fields}</form></html>'
    with pytest.raises(DownloadError, match="web page"):
        get(small.at(server.add("/uc", page(form))), root)
    check_no_bad_cache(server, root, small)


def test_a_wrong_length_is_refused_before_the_download(server, root):
    small = small_of("h5")
    with pytest.raises(
        DownloadError, match=f"must have {len(small.archive) + 1} bytes, but this one has {len(small.archive)}"
    ):
        get(small.at(server.add("/file", whole(small.archive)), size=len(small.archive) + 1), root)
    check_no_bad_cache(server, root, small)


def test_more_bytes_are_announced_than_come(server, root):
    small = small_of("npz")
    source = small.at(server.add("/file", claiming(small.archive, len(small.archive) + 500)))
    with pytest.raises(DownloadError):
        get(source, root)
    check_no_bad_cache(server, root, small, downloads=[f"downloads/{small.file.name}.part"])


@pytest.mark.parametrize("kind", ["h5", "npz", "pngs"])
def test_another_kind_of_file(server, root, kind):
    small = small_of(kind)
    with pytest.raises(DownloadError, match="must begin with"):
        get(small.at(server.add("/file", whole(b"GIF89a" + small.archive))), root)
    check_no_bad_cache(server, root, small)


def test_a_wrong_checksum(server, root):
    small = small_of("h5")
    with pytest.raises(DownloadError, match="must have the SHA-256 0000"):
        get(small.at(server.add("/file", whole(small.archive)), sha256="0" * 64), root)
    check_no_bad_cache(server, root, small)


def test_without_a_network_the_advice_comes_at_once(root):
    small = small_of("pngs")
    with socket.socket() as taken:  # bound but not listening: refused
        taken.bind(("127.0.0.1", 0))
        urls = (f"http://127.0.0.1:{taken.getsockname()[1]}/x.zip", "http://nowhere.invalid/x.zip")
        clock = time.monotonic()
        with pytest.raises(DownloadError) as caught:
            get(small.at(*urls), root)
    assert time.monotonic() - clock < 5
    message = str(caught.value)
    for part in (
        small.file.name,
        *urls,
        str(root / "manual"),
        small.source.homepage,
        "manual_dir",
        "load_dataset('falcor3d', source='twin')",
    ):
        assert part in message
    assert {path.name for path in root.iterdir()} == {"falcor3d.lock", "downloads"}


def test_a_silent_host_is_given_up(server, root, monkeypatch):
    monkeypatch.setattr(download, "SILENCE", 0.3)
    small = small_of("npz")
    clock = time.monotonic()
    with pytest.raises(DownloadError, match="no answer"):
        get(small.at(server.add("/file", silent(2))), root)
    assert time.monotonic() - clock < 2
    check_no_bad_cache(server, root, small)


def test_a_copy_by_hand(server, root, tmp_path):
    small = small_of("npz")
    (tmp_path / small.file.name).write_bytes(small.archive)
    check_right(get(small.at("http://nowhere.invalid/"), root, manual_dir=tmp_path), small)
    assert (tmp_path / small.file.name).read_bytes() == small.archive


def test_a_copy_where_the_message_says(root):
    small = small_of("npz")
    (root / "manual").mkdir(parents=True)
    (root / "manual" / small.file.name).write_bytes(small.archive)
    check_right(get(small.at("http://nowhere.invalid/"), root), small)


def test_no_copy_by_hand(server, root, tmp_path):
    small = small_of("npz")
    with pytest.raises(FileNotFoundError, match=f"manual_dir must hold {small.file.name}, but {tmp_path} does not"):
        get(small.at("http://nowhere.invalid/"), root, manual_dir=tmp_path)
    check_no_bad_cache(server, root, small)


def test_a_damaged_copy_by_hand_is_left_alone(server, root, tmp_path):
    small = small_of("npz")
    copy = tmp_path / small.file.name
    copy.write_bytes(small.archive[:-100])
    with pytest.raises(ArchiveError, match="is damaged"):
        get(small.at(), root, manual_dir=tmp_path)
    assert copy.exists()
    check_no_bad_cache(server, root, small)
