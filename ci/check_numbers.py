r"""Find decimals that were typed into the book's text: `check_numbers.py [PATH ...]` exits with 1 if there is one.

A number that was computed is glued, so that it changes with the computation. One that is chosen, a weight or a step,
stands in a formula, `$\varepsilon = 0.1$`, or in code. What is left numbers something: a version, a licence, a theorem
of the paper (`NAMED`).

The pages are read as Sphinx reads them, by MyST's parser with the settings of _config.yml. Searched are paragraphs,
headings, lists, tables and captions, also those within directives; not roles, code, formulas, addresses, nor a
directive's arguments and options.
"""

import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import yaml
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser

ROOT = Path(__file__).parents[1]
PAGES = ("book/*.md", "book/*.ipynb", "book/training/*.ipynb", "data/cards/*.ipynb")

DECIMAL = re.compile(r"(?<![\w.])(?:\d+\.\d+(?:[eE][+-]?\d+)?|\.\d+|\d+[eE][+-]?\d+)(?!\d|\.\d)")
NAMES = ("Python", "JAX", "version", "versions", "CC BY", "Apache", "Proposition", "Theorem", "Section", "Figure")
NAMED = re.compile(rf"\b(?:{'|'.join(NAMES)})[ -]\d+\.\d+(?:(?:, | or | and |, or | to )\d+\.\d+)*(?!\w|\.\d)")
ADDRESS = re.compile(r"\b(?:https?://|www\.|doi:|arXiv:?\s?)\S+")
NO_PROSE = {"code", "code-block", "code-cell", "literalinclude", "math", "raw", "bibliography", "mermaid"}
RST_MARKUP = re.compile(r"``.+?``|:[\w:]+:`[^`]*`|^\s*\.\. [\w:]+::.*|^\s+:[\w-]+:.*", re.MULTILINE)
OPTIONS = re.compile(r"\A(?:---\n(?s:.*?)\n---(?:\n|\Z)|(?::[\w-]+:.*(?:\n|\Z))+)")
HTML = re.compile(r"<!--.*?-->|<(script|style)\b.*?</\1>|<[^>]*>", re.DOTALL)


@cache
def parser() -> Any:
    """MyST's parser with the extensions of the book."""
    settings = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["parse"]
    return create_md_parser(MdParserConfig(enable_extensions=set(settings["myst_enable_extensions"])), RendererHTML)


def prose(text: str, first: int = 1) -> Iterator[tuple[int, str]]:
    """Give the pieces of a Markdown text that a reader reads as words, each with its line, counted from `first`."""
    line = first
    for token in parser().parse(text):
        if token.map:
            line = first + token.map[0]
        if token.type == "inline":
            yield from _inline(token, line)
        elif token.type in ("fence", "colon_fence"):
            yield from _directive(token, line)
        elif token.type == "html_block":
            yield line, HTML.sub(" ", token.content)


def _inline(token: Token, line: int) -> Iterator[tuple[int, str]]:
    """Give a paragraph line by line, with a blank for each thing that is left out."""
    words, automatic = "", False
    for child in token.children or []:
        if child.type in ("softbreak", "hardbreak"):
            yield line, words
            line, words = line + 1, ""
        elif child.type in ("link_open", "link_close"):
            automatic = child.type == "link_open" and child.markup == "autolink"
        elif child.type == "text" and not automatic:
            words += child.content
        elif child.type == "image":
            words += f" {child.content} "
        elif child.type not in ("em_open", "em_close", "strong_open", "strong_close"):
            words += " "
            line += child.content.count("\n")
    yield line, words


def _directive(token: Token, line: int) -> Iterator[tuple[int, str]]:
    """Give the text within a directive; nothing for plain code and for directives that hold no text."""
    name = re.match(r"\{([\w:-]+)\}", token.info.strip())
    if not name or name[1] in NO_PROSE:
        return
    if name[1] == "eval-rst":
        words = RST_MARKUP.sub(" ", token.content)
        yield from ((line + 1 + n, row) for n, row in enumerate(words.splitlines()))
        return
    options = OPTIONS.match(token.content)
    skipped = options[0] if options else ""
    yield from prose(token.content[len(skipped) :], line + 1 + skipped.count("\n"))


def find(text: str) -> list[tuple[int, str]]:
    """List the typed decimals of a Markdown text: line, and the number among its neighbors."""
    found = []
    for line, words in prose(text):
        words = NAMED.sub(lambda named: " " * len(named[0]), ADDRESS.sub(lambda a: " " * len(a[0]), words))
        for number in DECIMAL.finditer(words):
            around = words[max(0, number.start() - 30) : number.end() + 20]
            found.append((line, f"{number[0]} in “{' '.join(around.split())}”"))
    return found


def texts(path: Path) -> Iterator[tuple[str, str]]:
    """Give the Markdown texts of a page and where they stand: the page, or cells and captions of a notebook."""
    if path.suffix == ".md":
        yield "", path.read_text(encoding="utf-8")
        return
    for number, cell in enumerate(nbformat.read(path, as_version=4).cells):
        if cell.cell_type == "markdown":
            yield f"cell {number}, ", cell.source
        elif caption := cell.metadata.get("mystnb", {}).get("figure", {}).get("caption"):
            yield f"caption of cell {number}, ", caption


def main(arguments: list[str]) -> int:
    paths = [Path(name) for name in arguments] or [path for page in PAGES for path in sorted(ROOT.glob(page))]
    count = 0
    for path in paths:
        for where, text in texts(path):
            for line, number in find(text):
                shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
                print(f"{shown}: {where}line {line}: {number}")
                count += 1
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
