"""A Sphinx extension for the page of the package: docstrings, written to be read in Python, as reStructuredText.

In the package a formula is an indented block, |a| is an absolute value and "tiny" a string of Python. reStructuredText
would run the lines of the first into one paragraph, look up the second as the name of a substitution, and bend the
quotes of the third. The line that names a chapter gives way to the page's own, which has a link.
"""

import re
from typing import Any

CODE = re.compile(r"(`[^`]*`)")
STRING = re.compile(r'(?<![\w`])("[\w.]+")')
CHAPTER = "Derived in the book's chapter "
SECTION = re.compile(r"(Args|Attributes|Returns|Yields|Raises):$")


def prepare(lines: list[str]) -> list[str]:
    """Make formulas, which are blocks indented outside of a list of arguments, literal, strings code, bars plain."""
    prepared: list[str] = []
    literal = section = False
    for line in lines:
        if line.startswith(CHAPTER):
            continue
        indented = line.startswith("    ")
        if line and not indented:
            literal, section = False, bool(SECTION.match(line))
        elif line and not section and not literal and (not prepared or not prepared[-1]):
            literal = True
            prepared += [".. code-block:: text", ""]
        prepared.append(line if literal else _plain(line))
    return prepared


def _plain(line: str) -> str:
    """Mark strings as code and escape bars, outside of `code`."""
    parts = CODE.split(line)
    return "".join(p if p.startswith("`") else STRING.sub(r"``\1``", p).replace("|", r"\|") for p in parts)


def _process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = prepare(lines)


def setup(app: Any) -> dict[str, bool]:
    """Let Sphinx prepare every docstring, before sphinx.ext.napoleon reads its sections."""
    app.connect("autodoc-process-docstring", _process, priority=400)
    return {"parallel_read_safe": True}
