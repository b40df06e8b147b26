"""The check for typed decimals finds them wherever a reader reads, and lets alone what is glued, chosen or numbered."""

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

pytest.importorskip("myst_parser")

import check_numbers

ROOT = Path(__file__).parents[2]

TYPED = [
    "About 0.53 of it.",
    "# A title of 0.53",
    "up to **0.53** nats",
    "(0.53), at once",
    "changed by -0.53 or ±0.53",
    "0.53× as long",
    "took 0.53s",
    "x = 0.53.",
    "3.2e-4 nats",
    "1e-3 of it",
    "rises by .5 there",
    "Python 3.11 took 0.53 s",
    "- one\n- two of 0.53",
    "1. one\n\n    and 0.53",
    "> quoted, 0.53",
    "| a | b |\n|---|---|\n| `x` | 0.53 |",
    "$a =$ 0.53 and {glue:text}`a-0.1`",
    "from 0.53 to\n{glue:text}`a`",
    "[0.53 of it](a.md)",
    "![a dot at 0.53](a.png)",
    "<b>0.53</b>",
    "```{admonition} Takeaways\n:class: important\n\n- It fell to 0.53.\n```",
    "````{exercise} One\n:label: ex-0.1\n\n```{note}\nIt is 0.53.\n```\n````",
    ":::{note}\nIt is 0.53.\n:::",
    "```{figure} dot-0.1.png\n---\nalt: 0.1\n---\nA dot at 0.53.\n```",
    "```{eval-rst}\n.. autofunction:: a\n   :no: 0.1\n\n   It gives 0.53, see :ref:`0.1`.\n```",
    "$$\na = 0.1\n$$ (eq-0.1)\n\nThen 0.53.",
]
NOT_TYPED = [
    "With $\\varepsilon = 0.1$ and $\\beta = 0.25$, as released.",
    "$$ a = 0.1 $$ (eq-0.1)",
    "\\begin{align}\na &= 0.1\n\\end{align}",
    "```{math}\na = 0.1\n```",
    "`f(0.1)`",
    "```python\nx = 0.1\n```",
    "```{code-block} python\nx = 0.1\n```",
    "So:\n\n    x = 0.1\n",
    "{glue:text}`a-0.1`, {eq}`eq-0.1`, {cite:p}`a0.1`, {ref}`0.1 <a>` and {doc}`a`",
    "```{prf:proposition} Proposition 3.1\n:label: prop-0.1\n\nTwo.\n```",
    "[here](https://a.b/0.1), <https://a.b/0.1>, https://a.b/0.1 and arXiv:2404.10282",
    "![a dot](dot-0.1.png)",
    "Python 3.11, 3.12 or 3.13; JAX 0.10 and 0.11; version 0.10.2; 1.2.3; `a` 1.2.3",
    "Proposition 3.1 of the paper",
    "CC BY 4.0 or Apache-2.0",
    "10 000 images, 64×64, in 3 of 4 cases, 95 %",
    "In 3. Then 4.",
    "(sec-0.1)=\n# Title",
    "% 0.1",
    "<!-- 0.1 -->",
    "<span style='width: 0.1em'>x</span>",
]


@pytest.mark.parametrize("text", TYPED)
def test_typed_decimals_are_found(text):
    found = check_numbers.find(text)
    assert found
    for line, number in found:
        assert number.split()[0] in text.splitlines()[line - 1]
        assert not number.startswith("0.1")


@pytest.mark.parametrize("text", NOT_TYPED)
def test_other_numbers_are_let_alone(text):
    assert check_numbers.find(text) == []


def test_the_book_has_none(capsys):
    assert check_numbers.main([]) == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    "page", ["book/knobs.ipynb", "book/training/train.ipynb", "data/cards/mpi3d.ipynb", "book/api.md"]
)
def test_one_more_sentence_is_found_in_every_kind_of_page(page, tmp_path, capsys):
    text = (ROOT / page).read_text()
    changed = tmp_path / Path(page).name
    if changed.suffix == ".md":
        changed.write_text(f"{text}\nIt is 0.123 of that.\n")
    else:
        notebook = nbformat.reads(text, as_version=4)
        last = [cell for cell in notebook.cells if cell.cell_type == "markdown"][-1]
        last.source += "\n\nIt is 0.123 of that.\n"
        nbformat.write(notebook, changed)
    assert check_numbers.main([str(changed)]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(str(changed)) and line.endswith("0.123 in “It is 0.123 of that.”")


def test_a_glued_number_that_is_typed_instead_is_found(tmp_path):
    text = (ROOT / "book/tripod.ipynb").read_text()
    assert "{glue:text}`gain-infom`" in text
    changed = tmp_path / "tripod.ipynb"
    changed.write_text(text.replace("{glue:text}`gain-infom`", "0.05 ± 0.02"))
    assert check_numbers.main([str(changed)]) == 1


def test_captions_and_text_are_searched_and_code_is_not(tmp_path, capsys):
    caption = {"mystnb": {"figure": {"caption": "A dot at 0.53.", "name": "fig-0.1"}, "image": {"alt": "0.1"}}}
    cells = [new_markdown_cell("One.\n\nTwo 0.25."), new_code_cell("x = 0.1"), new_code_cell("x", metadata=caption)]
    path = tmp_path / "page.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    assert check_numbers.main([str(path)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{path}: cell 0, line 3: 0.25 in “Two 0.25.”",
        f"{path}: caption of cell 2, line 1: 0.53 in “A dot at 0.53.”",
    ]
