"""The rendered pages, where the book is built: what the check of the book finds, and what every page must have."""

from pathlib import Path

import check_book
import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[2]
HTML = ROOT / "book/_build/html"
CHAPTERS = [page for page in check_book.toc_pages() if (ROOT / f"{page}.ipynb").is_file()]

pytestmark = pytest.mark.skipif(not (HTML / "index.html").is_file(), reason="`make book` has not been run")


@pytest.fixture(scope="module", params=CHAPTERS)
def page(request):
    path = HTML / f"{request.param}.html"
    if not path.is_file():
        pytest.skip(f"{request.param} is newer than the built book")
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def test_the_check_of_the_book_finds_nothing():
    names = [page for page in check_book.toc_pages() if (HTML / f"{page}.html").is_file()]
    assert check_book.check_book(HTML, names) == []


def test_a_page_has_one_title_and_a_colab_button(page):
    assert len(page.select("article h1")) == 1
    assert page.select_one('a[href^="https://colab.research.google.com/github/tripod-book/tripod/blob/main/book/"]')


def test_every_figure_is_numbered(page):
    captions = [f.select_one("figcaption") for f in page.select("article figure[id]")]
    assert all(caption and caption.select_one(".caption-number") for caption in captions)
