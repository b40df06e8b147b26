"""Check the built book: `check_book.py BUILD/html` prints a line for each finding and exits with 1 if there is one.

Sphinx warns of much, and the build fails on its warnings; this looks for what it does not warn of.
"""

import re
import sys
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import yaml
from bs4 import BeautifulSoup
from install_cell import repository

ROOT = Path(__file__).parents[1]
LOADED = {"script": "src", "img": "src", "source": "src", "video": "src", "iframe": "src", "link": "href"}
REMINDERS = ("todo", "fixme", "tbd")
NOT_FETCHED = {"canonical", "prev", "next", "search", "index", "author", "license"}


def toc_pages(toc: Path = ROOT / "_toc.yml") -> list[str]:
    """List the pages that the table of contents names, without suffix, the root first."""
    contents = yaml.safe_load(toc.read_text(encoding="utf-8"))

    def below(node: dict) -> list[str]:
        own = [node[k] for k in ("root", "file") if k in node]
        nested = [n for k in ("parts", "chapters", "sections") for n in node.get(k, [])]
        return own + [page for n in nested for page in below(n)]

    return below(contents)


def check_outputs(soup: BeautifulSoup) -> list[str]:
    """Find tracebacks and anything that a cell wrote to stderr."""
    found = []
    for kind in ("traceback", "stderr"):
        found += [f"{kind}: {' '.join(tag.get_text().split())[:80]}" for tag in soup.select(f"div.output.{kind}")]
    return found


def check_images(soup: BeautifulSoup) -> list[str]:
    """Find pictures of the text whose alternative text is missing or just the name of the file."""
    found = []
    for image in soup.select("article img"):
        alt, source = image.get("alt", "").strip(), image.get("src", "")
        if not alt or alt == source or alt.startswith(("_images", "..")):
            found.append(f"image without alternative text: {source[:80]}")
    return found


def check_requests(soup: BeautifulSoup) -> list[str]:
    """Find what the page would load from another server."""
    found = []
    for tag, attribute in LOADED.items():
        for element in soup.find_all(tag):
            address = element.get(attribute) or ""
            if urlsplit(address).netloc and not NOT_FETCHED & set(element.get("rel", [])):
                found.append(f"loads from outside: {address[:80]}")
    return found


def check_markup(soup: BeautifulSoup) -> list[str]:
    """Find roles and directives that were left as text."""
    article = soup.select_one("article")
    text = [t for t in article.find_all(string=True) if not t.find_parent(["pre", "code", "script", "style"])]
    return [f"unrendered markup: {t.strip()[:80]}" for t in text if "{glue" in t or "{ref}" in t or "```" in t]


def check_structure(soup: BeautifulSoup) -> list[str]:
    """Find pages without exactly one title, and figures without a number."""
    titles = len(soup.select("article h1"))
    found = [] if titles == 1 else [f"{titles} titles, not 1"]
    for figure in soup.select("article figure[id]"):
        if not figure.select_one("figcaption .caption-number"):
            found.append(f"figure without a number: {figure['id']}")
    return found


def check_colab(soup: BeautifulSoup, name: str) -> list[str]:
    """Find a chapter that Colab cannot open from its page."""
    address = f"{repository()['colab']}{name}.ipynb"
    return [] if soup.select_one(f'a[href="{address}"]') else [f"no button to Colab, {address}"]


def check_drafts(soup: BeautifulSoup) -> list[str]:
    """Find what was to be written later: paragraphs that are one word in capitals, or hold a reminder in capitals."""
    paragraphs = [" ".join(p.get_text().split()) for p in soup.select("article p") if not p.find_parent("table")]
    draft = re.compile(rf"[A-Z]{{3,}}|.*\b({'|'.join(REMINDERS).upper()})\b.*")
    return [f"unfinished text: {p[:80]}" for p in paragraphs if draft.fullmatch(p)]


def check_links(page: Path, soup: BeautifulSoup, anchors: dict[Path, set[str]]) -> list[str]:
    """Find links within the book whose page or anchor does not exist; `anchors` has the ids of every page."""
    found = []
    for link in soup.select("article a[href]"):
        address, anchor = urldefrag(link["href"])
        if urlsplit(address).scheme:
            continue
        target = (page.parent / unquote(address)).resolve() if address else page
        if not target.is_file():
            found.append(f"link to a page that is not there: {address}")
        elif anchor and target in anchors and unquote(anchor) not in anchors[target]:
            found.append(f"link to an anchor that is not there: {link['href']}")
    return found


CHECKS = (check_outputs, check_images, check_requests, check_markup, check_structure, check_drafts)


def check_book(html: Path, names: list[str], chapters: list[str]) -> list[str]:
    """Check the pages `names` below the folder `html`, those of notebooks being `chapters`; return a line a finding."""
    pages = {(html / f"{name}.html").resolve(): name for name in names}
    found = [f"{name}: not in the built book" for path, name in pages.items() if not path.is_file()]
    if not (html / "index.html").is_file():
        found.append("index: not in the built book")
    soups = {p: BeautifulSoup(p.read_text(encoding="utf-8"), "html.parser") for p in pages if p.is_file()}
    anchors = {p: {tag["id"] for tag in soup.find_all(id=True)} for p, soup in soups.items()}
    for path, soup in soups.items():
        findings = [line for check in CHECKS for line in check(soup)]
        if pages[path] in chapters:
            findings += check_colab(soup, pages[path])
        found += [f"{pages[path]}: {line}" for line in findings + check_links(path, soup, anchors)]
    return found


def main() -> int:
    html = Path(sys.argv[1])
    names = toc_pages()
    found = check_book(html, names, [name for name in names if (ROOT / f"{name}.ipynb").is_file()])
    print(*found or [f"{len(names)} pages checked, nothing found: {html / 'index.html'}"], sep="\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
