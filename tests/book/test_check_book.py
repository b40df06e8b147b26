"""The check of the built book finds each fault in a page that has it, and nothing in a page without."""

import check_book
import pytest
from bs4 import BeautifulSoup

GOOD = """<html><head><link rel="stylesheet" href="_static/a.css"><link rel="canonical" href="https://example.org/a.html">
<script src="_static/a.js"></script></head><body><a href="https://colab.research.google.com/github/tripod-book/tripod/blob/main/page.ipynb">
run</a><article><h1 id="top">T</h1><figure id="f">
<figcaption><span class="caption-number">1</span></figcaption></figure>
<p><code>{ref}</code> is a role</p>
<img src="_images/a.png" alt="A line."><div class="output stdout">1</div>
<a href="#top">up</a><a href="other.html#there">there</a><a href="https://example.org">out</a></article></body></html>"""


@pytest.fixture
def html(tmp_path):
    (tmp_path / "index.html").write_text("to the first page")
    (tmp_path / "page.html").write_text(GOOD)
    (tmp_path / "other.html").write_text('<html><body><article><h1 id="there">O</h1></article></body></html>')
    return tmp_path


def test_a_good_book_has_no_findings(html):
    assert check_book.check_book(html, ["page", "other"], ["page"]) == []


def test_missing_pages_are_found(html):
    (html / "index.html").unlink()
    findings = check_book.check_book(html, ["page", "other", "absent"], ["page"])
    assert findings == ["absent: not in the built book", "index: not in the built book"]


@pytest.mark.parametrize(
    ("element", "finding"),
    [
        ('<div class="output traceback">ValueError: no</div>', "page: traceback: ValueError: no"),
        ('<div class="output stderr">warned</div>', "page: stderr: warned"),
        ('<img src="_images/b.png">', "page: image without alternative text: _images/b.png"),
        ('<img src="_images/b.png" alt="_images/b.png">', "page: image without alternative text: _images/b.png"),
        ('<script src="https://example.org/x.js"></script>', "page: loads from outside: https://example.org/x.js"),
        ('<img src="//example.org/x.png" alt="X.">', "page: loads from outside: //example.org/x.png"),
        ("<p>{glue:text}`x` nats</p>", "page: unrendered markup: {glue:text}`x` nats"),
        ("<h1>Another</h1>", "page: 2 titles, not 1"),
        ('<figure id="g"><figcaption>x</figcaption></figure>', "page: figure without a number: g"),
        ("<p>TEXT</p>", "page: unfinished text: TEXT"),
        *(
            (f"<p>Say why. {word.upper()}\nproof</p>", f"page: unfinished text: Say why. {word.upper()} proof")
            for word in check_book.REMINDERS
        ),
        ('<a href="gone.html">x</a>', "page: link to a page that is not there: gone.html"),
        ('<a href="#gone">x</a>', "page: link to an anchor that is not there: #gone"),
        ('<a href="other.html#gone">x</a>', "page: link to an anchor that is not there: other.html#gone"),
    ],
)
def test_each_fault_is_found(html, element, finding):
    (html / "page.html").write_text(GOOD.replace("</article>", f"{element}</article>"))
    assert check_book.check_book(html, ["page", "other"], ["page"]) == [finding]


def test_a_chapter_without_a_button_is_found(html):
    assert check_book.check_book(html, ["page", "other"], ["page", "other"]) == [
        "other: no button to Colab, https://colab.research.google.com/github/tripod-book/tripod/blob/main/other.ipynb"
    ]


def test_table_of_contents_is_read_in_order(tmp_path):
    toc = tmp_path / "_toc.yml"
    toc.write_text("root: a\nparts: [{chapters: [{file: b, sections: [{file: c}]}]}, {chapters: [{file: d}]}]")
    assert check_book.toc_pages(toc) == ["a", "b", "c", "d"]


def test_outputs_are_only_those_of_cells():
    soup = BeautifulSoup('<p class="stderr">a word</p><div class="output text_plain">1</div>', "html.parser")
    assert check_book.check_outputs(soup) == []
