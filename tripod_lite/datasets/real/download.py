"""Downloading: mirrors in order, resumed where it was cut off, and checked before it is given its name."""

import hashlib
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlencode, urljoin, urlsplit

import requests

from tripod_lite.datasets.real.archives import ArchiveError
from tripod_lite.datasets.real.sources import File

CONNECT, SILENCE = 5, 30  # seconds to wait for a host, and for the next bytes
CHUNK = 2**13  # bytes, of which an interruption loses less than one


class DownloadError(ConnectionError):
    """A file could not be had."""


def download(file: File, target: Path, *, progress: bool = True) -> None:
    """Download a file to `target`; a call that was stopped goes on from `target` + ".part".

    Raises:
        DownloadError: no mirror gave the file; the message says what each did.
        OSError: the disk is full.
    """
    part = target.with_name(target.name + ".part")
    target.parent.mkdir(parents=True, exist_ok=True)
    failures = []
    for url in file.urls:
        try:
            _from_mirror(url, file, part, progress)
            check_file(file, part)
        except (requests.RequestException, DownloadError) as error:
            failures.append(f"{url}: {_reason(error)}")
        except ArchiveError as error:  # what has arrived is of no use for going on
            part.unlink(missing_ok=True)
            failures.append(f"{url}: {error}")
        else:
            part.replace(target)
            return
    raise DownloadError("\n".join(failures))


def check_file(file: File, path: Path) -> None:
    """Compare size, first bytes and, where they are known, the checksum.

    Raises:
        ArchiveError: it is another file.
    """
    size = path.stat().st_size
    with path.open("rb") as opened:
        start = opened.read(len(file.magic))
    if start != file.magic:
        page = ", it is a web page" if _is_page(start) else ""
        raise ArchiveError(f"{path} must begin with {file.magic!r}, got {start!r}{page}")
    if file.size is not None and size != file.size:
        raise ArchiveError(f"{path} must have {file.size} bytes, got {size}")
    if file.sha256 is not None and (found := sha256_of(path)) != file.sha256:
        raise ArchiveError(f"{path} must have the SHA-256 {file.sha256}, got {found}")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _from_mirror(url: str, file: File, part: Path, progress: bool) -> None:
    """Ask again, from where it stopped, as long as something comes."""
    while True:
        before = _size(part)
        try:
            return _fetch(url, file, part, progress)
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError, requests.Timeout):
            if _size(part) <= before:
                raise


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _fetch(url: str, file: File, part: Path, progress: bool, *, confirmed: bool = False) -> None:
    """Append to `part` what it lacks."""
    from tqdm.auto import tqdm

    have = _size(part)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=(CONNECT, SILENCE)) as answer:
        if answer.status_code == 416:  # there is nothing after what we have
            total = answer.headers.get("Content-Range", "").rpartition("/")[2]
            if total == str(have):
                return
            raise ArchiveError(f"{have} bytes had arrived before, but the file has {total or 'fewer'}")
        answer.raise_for_status()
        resumed = answer.status_code == 206
        if resumed and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise ArchiveError(f"asked for bytes from {have} on, got {answer.headers.get('Content-Range')!r}")
        have = have if resumed else 0
        blocks = answer.iter_content(CHUNK)
        first = next(blocks, b"")
        if not resumed and ("text/html" in answer.headers.get("Content-Type", "") or _is_page(first)):
            page = (first + b"".join(block for block, _ in zip(blocks, range(32), strict=False))).decode(
                "utf-8", "replace"
            )
            following = None if confirmed else _confirmation(page, answer.url)
            if following is None:
                raise DownloadError(f"a web page came instead of the file, titled {_title(page)!r}")
            return _fetch(following, file, part, progress, confirmed=True)
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length is not None and length.isdigit() else file.size
        if file.size is not None and total != file.size:
            raise DownloadError(f"{file.name} must have {file.size} bytes, but this one has {total}")
        if not resumed and not first.startswith(file.magic):
            raise DownloadError(f"{file.name} must begin with {file.magic!r}, got {first[: len(file.magic)]!r}")
        check_room(part.parent, (total or 0) - have)
        bar = tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=file.name, disable=not progress)
        with bar, part.open("ab" if resumed else "wb") as opened:
            while first:
                opened.write(first)
                bar.update(len(first))
                first = next(blocks, b"")


def check_room(folder: Path, needed: int) -> None:
    """Say before the work that the disk is too small for it.

    Raises:
        OSError: there is not enough room.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(f"{folder} needs {needed / 1e9:.2f} GB more, but its disk has {free / 1e9:.2f} GB free")


def _is_page(start: bytes) -> bool:
    return start.lstrip()[:1] == b"<"


class _Form(HTMLParser):
    """The first form of a page, and the page's title."""

    def __init__(self) -> None:
        super().__init__()
        self.action, self.fields, self.title, self._in_title = "", {}, "", False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._in_title = tag == "title"
        if tag == "form" and not self.action:
            self.action = given.get("action") or ""
        elif tag == "input" and self.action and given.get("type") == "hidden" and given.get("name"):
            self.fields[given["name"]] = given.get("value") or ""

    def handle_data(self, data: str) -> None:
        if self._in_title and not self.title:
            self.title = data.strip()


def _read_page(page: str) -> _Form:
    form = _Form()
    form.feed(page)
    return form


def _title(page: str) -> str:
    return _read_page(page).title or "without a title"


def _confirmation(page: str, url: str) -> str | None:
    """Where the button of Google Drive's warning about large files leads; None if this is another page."""
    form = _read_page(page)
    if not form.action or "id" not in form.fields or "confirm" not in form.fields:
        return None
    action = urljoin(url, form.action)
    host = urlsplit(action).hostname or ""
    if host != urlsplit(url).hostname and not host.endswith((".google.com", ".googleusercontent.com")):
        return None
    return f"{action}?{urlencode(form.fields)}"


def _reason(error: Exception) -> str:
    """The last words of an error of `requests`, which quotes all that led to it."""
    if isinstance(error, requests.Timeout):
        return f"no answer within {CONNECT} seconds, or silence for {SILENCE}"
    if isinstance(error, requests.ConnectionError) and "ChunkedEncoding" not in type(error).__name__:
        return f"no connection ({str(error).rpartition(': ')[2].rstrip(')')})"
    return str(error)
