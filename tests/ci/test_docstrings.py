"""The page of the package: each public name once, links from chapters and back, docstrings that Sphinx can read."""

import re
from pathlib import Path

import docstrings
import nbformat
import pytest

import tripod_lite as tl
from tripod_lite import legs

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "book/api.md").read_text()
ENTRY = re.compile(r"^\.\. (?:autofunction|autoclass|py:data):: tripod_lite\.(\w+)(?:\(\))?$", re.MULTILINE)
FUNCTIONS = sorted(name for name in legs.__all__ if callable(getattr(legs, name)) and name.islower())


def entries():
    """The text of each name's entry on the page, without its docstring."""
    parts = ENTRY.split(PAGE)
    return {name: text.split("\n.. auto")[0] for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def labels():
    """The chapter of each label that stands before a heading."""
    found = {}
    for path in sorted(ROOT.glob("book/*.ipynb")):
        text = "\n\n".join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown")
        found |= dict.fromkeys(re.findall(r"^\((sec-[\w-]+)\)=\n#", text, re.MULTILINE), path.stem)
    return found


def test_every_public_name_has_one_entry():
    assert sorted(ENTRY.findall(PAGE)) == sorted(tl.__all__)


def test_entries_link_to_sections_of_the_chapter_that_they_name():
    where = labels()
    for text in re.split(r"^\.\. auto", PAGE, flags=re.MULTILINE):
        chapters = set(re.findall(r":doc:`(\w+)`", text))
        sections = re.findall(r":ref:`([\w-]+)`", text)
        assert {where.get(label, f"no section {label}") for label in sections} <= chapters, text


@pytest.mark.parametrize("name", FUNCTIONS)
def test_legs_link_to_their_chapter_and_back(name):
    linked = re.findall(r":doc:`(\w+)`", entries()[name])
    assert linked, f"the entry of {name} names no chapter"
    assert getattr(tl, name).__doc__.rstrip().endswith(f"Derived in the book's chapter {linked[0].capitalize()}.")
    for chapter in linked:
        assert f"{{py:func}}`tl.{name} <tripod_lite.{name}>`" in (ROOT / f"book/{chapter}.ipynb").read_text()


def test_chapters_link_to_names_that_exist():
    linked = []
    for path in [*ROOT.glob("book/*.ipynb"), *ROOT.glob("data/cards/*.ipynb")]:
        linked += re.findall(r"\{py:func\}`tl\.(\w+) <tripod_lite\.(\w+)>`", path.read_text())
    assert len(linked) > 10
    assert all(shown == name and name in tl.__all__ for shown, name in linked)


def test_formulas_become_literal_and_arguments_stay():
    text = ["What it is, with |a| and `|b|`:", "", "    y = |x|", "        + 1", "", "After.", ""]
    arguments = ["Args:", "    x: one of", "        many.", "", "    y: another.", "", "Source: us."]
    assert docstrings.prepare(text + arguments) == [
        "What it is, with \\|a\\| and `|b|`:",
        "",
        ".. code-block:: text",
        "",
        *text[2:],
        *arguments,
    ]


def test_the_line_that_names_a_chapter_is_left_to_the_page():
    lines = ["Source: us.", "Derived in the book's chapter Grids.", ""]
    assert docstrings.prepare(lines) == ["Source: us.", ""]


def test_strings_become_code_once():
    assert docstrings.prepare(['size "tiny" or `"lite"`; not "two words"']) == [
        'size ``"tiny"`` or `"lite"`; not "two words"'
    ]
