"""Ask for every address outside the repository that the built book and the documents link to.

python ci/check_links.py BUILD/html [--seconds 20]

An address is broken if its server does not exist, does not answer, or says that there is no such page. A server that
refuses programs (401, 403, 429 and the like) is listed, but not counted: a person may see the page.
"""

import argparse
import re
import sys
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urldefrag, urlsplit

import requests
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/results/README.md")
# A browser's name: some servers answer nothing else. The rest says who asks.
HEADERS = {"User-Agent": "Mozilla/5.0 (compatible; link check of the Tripod book)", "Accept": "*/*"}
REFUSED = {401, 402, 403, 405, 406, 429, 451, 999}
TRIES = 3
AT_ONCE = 8
PAUSE = 1.0  # seconds between two questions to one server, and before another try


def addresses_of_page(html: str) -> set[str]:
    """Return the addresses on other servers that a page links to, without anchors."""
    links = [tag["href"] for tag in BeautifulSoup(html, "html.parser").select("a[href]")]
    return {urldefrag(link)[0] for link in links if urlsplit(link).scheme in ("http", "https")}


def addresses_of_document(text: str) -> set[str]:
    """Return the addresses that a Markdown document links to, shows, or has in angle brackets or BibTeX fields."""
    found = re.findall(r"https?://[^\s<>()\"'`{}\]]+", text)
    return {urldefrag(address.rstrip(".,;:"))[0] for address in found}


def collect(html: Path, root: Path = ROOT) -> dict[str, list[str]]:
    """Return each address, and the pages and documents below `html` and `root` that have it."""
    found = defaultdict(list)
    for page in sorted(html.rglob("*.html")):
        for address in addresses_of_page(page.read_text(encoding="utf-8")):
            found[address].append(page.relative_to(html).as_posix())
    for name in DOCUMENTS:
        for address in addresses_of_document((root / name).read_text(encoding="utf-8")):
            found[address].append(name)
    return dict(sorted(found.items()))


class Asker:
    """Asks for addresses, at most once a `PAUSE` on one server."""

    def __init__(self, seconds: float, pause: float | None = None) -> None:
        """`seconds` are how long a server may take to answer; `pause` is for tests."""
        self._seconds, self._pause = seconds, PAUSE if pause is None else pause
        self._turns: dict[str, threading.Lock] = defaultdict(threading.Lock)

    def _once(self, address: str) -> int | str:
        """Return the status, or what went wrong."""
        with self._turns[urlsplit(address).netloc]:
            time.sleep(self._pause)
            try:
                # Not HEAD, which many servers answer wrongly; the body is not read.
                with requests.get(address, headers=HEADERS, timeout=self._seconds, stream=True) as answer:
                    return answer.status_code
            except requests.RequestException as error:
                return f"{type(error).__name__}: {str(error)[:120]}"

    def ask(self, address: str) -> int | str:
        """Return the status, or what went wrong, after several tries where that may pass."""
        for attempt in range(TRIES):
            time.sleep(attempt * self._pause)
            status = self._once(address)
            if isinstance(status, int) and status < 500 and status != 429:
                break
        return status


def is_broken(status: int | str) -> bool:
    """Say whether an answer means that a reader would find nothing."""
    return isinstance(status, str) or (status >= 400 and status not in REFUSED)


def main(arguments: list[str] | None = None) -> int:
    """Print broken addresses with the pages that have them; return 1 if there are any."""
    parser = argparse.ArgumentParser(description="Check links that lead out of the repository.")
    parser.add_argument("html", type=Path, help="folder of the built book")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long a server may take to answer")
    args = parser.parse_args(arguments)
    if not (args.html / "index.html").is_file():
        parser.error(f"html must be the folder of a built book, but there is no index.html in {args.html}")
    found = collect(args.html)
    asker = Asker(args.seconds)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        answers = dict(zip(found, threads.map(asker.ask, found), strict=True))
    broken = {address: status for address, status in answers.items() if is_broken(status)}
    for address, status in answers.items():
        if address in broken or (isinstance(status, int) and status >= 400):
            word = "broken" if address in broken else "refused"
            print(f"{word}: {address} ({status}), in {', '.join(found[address][:5])}")
    print(f"{len(found)} addresses, {len(broken)} broken")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
