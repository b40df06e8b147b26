"""What the pages share: one look for plots and tables, numbers that the text quotes, and the parts of dataset cards."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tripod_lite.checks import check_count
from tripod_lite.datasets import Twin, Visibility
from tripod_lite.results import Result, recorded_folder

if TYPE_CHECKING:
    import IPython.display
    import matplotlib.figure

SPACE = 'style="padding:0.1em 0.3em; white-space:nowrap"'  # of a table's cells


def glue(name: str, value: object, display: bool = False) -> None:
    """Keep a value under a name, for the text of the page to quote: {glue:text}`name`, or {glue:text}`name:.2f`.

    The output that this leaves in the notebook is the one that MyST-NB collects when it builds the book; MyST-NB itself
    is not needed, so that chapters run anywhere.

    Args:
        name: unique in the notebook.
        value: what `str(value)` says is quoted, a string as it is; for a format as `.2f` it must be a number.
        display: whether the cell shows it too.

    Raises:
        TypeError: the name is not a string.
        ValueError: the name is empty.
    """
    from IPython.display import display as show

    if not isinstance(name, str):
        raise TypeError(f"name must be a string, got {name!r}")
    if not name:
        raise ValueError("name must not be empty")
    prefix = "" if display else "application/papermill.record/"
    show(
        # Strings in quotes: without them MyST-NB reads "0.50" as a number and prints 0.5.
        {f"{prefix}text/plain": repr(value) if isinstance(value, str) else str(value)},
        raw=True,
        metadata={"scrapbook": {"name": name, "mime_prefix": prefix}},
    )


def use_style() -> None:
    """One look for the plots of all chapters: sized for the page, in colors that color-blind readers tell apart."""
    import matplotlib
    import matplotlib.pyplot as plt

    from tripod_lite.figures import COLORS, WIDTH

    plt.rcParams.update(
        {
            "axes.prop_cycle": matplotlib.cycler(color=COLORS),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlesize": 10,
            "figure.constrained_layout.use": True,
            "figure.dpi": 120,
            "figure.facecolor": "white",
            "figure.figsize": (WIDTH, 3.0),
            "font.size": 10,
            "grid.alpha": 0.3,
            "image.cmap": "viridis",
            "legend.frameon": False,
            "savefig.facecolor": "white",
        }
    )


def load_benchmark(name: str) -> dict[str, Any] | None:
    """What `python -m benchmarks` measured and the repository keeps.

    Args:
        name: of the file in data/benchmarks, without its suffix: "training-cpu".

    Returns:
        The file's JSON object, or None where there is no such file.
    """
    path = recorded_folder().parent / "benchmarks" / f"{name}.json"  # so in the repository and where it is installed
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def table(titles: Sequence[str], lines: Sequence[Sequence[object]]) -> "IPython.display.HTML":
    """A table for the page, of what `str` says of its cells."""
    from IPython.display import HTML

    rows = ["".join(f"<td {SPACE}>{cell}</td>" for cell in line) for line in lines]
    head = "".join(f"<th {SPACE}>{title}</th>" for title in titles)
    return HTML(f"<table><tr>{head}</tr>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>")


def factor_sheet(ds: Twin, start: Sequence[int], *, columns: int = 10) -> "matplotlib.figure.Figure":
    """Every factor of a twin, a row each, from its first to its last value, the others held at `start`.

    Args:
        ds: the twin.
        start: class numbers, one a factor.
        columns: pictures a row; of factors with more values every so many are shown.

    Raises:
        TypeError, ValueError: a start that is not on the grid; fewer than two columns.
    """
    from tripod_lite.figures import GAP, plot_images

    columns = min(check_count("columns", columns, 2), max(ds.factor_sizes))
    start = np.asarray(ds.grid.check(np.asarray(start)[None]))[0]
    shown = [np.unique(np.linspace(0, size - 1, min(size, columns)).round().astype(int)) for size in ds.factor_sizes]
    rows = np.concatenate([np.tile(start, (len(values), 1)) for values in shown])
    places = [(k, column) for k, values in enumerate(shown) for column in range(len(values))]
    rows[np.arange(len(rows)), [k for k, _ in places]] = np.concatenate(shown)
    sheet = np.full((len(shown), columns, *ds.image_shape), 255, np.uint8)
    for (k, column), image in zip(places, np.asarray(ds.images(rows)), strict=True):
        sheet[k, column] = image
    figure = plot_images(sheet.reshape(-1, *ds.image_shape), columns=columns)
    height = ds.image_size + GAP
    names = [name.replace("_", " ") for name in ds.factor_names]
    figure.axes[0].set_yticks(height * np.arange(len(shown)) + ds.image_size // 2, names)
    return figure


def factor_table(ds: Twin, seen: Visibility) -> "IPython.display.HTML":
    """A twin's factors: how many values, the first and the last, and how much a step of each shows."""
    titles = ("factor", "values", "first", "last", "median step", "least step")
    lines = []
    for k, (name, values) in enumerate(ds.scene.factors.items()):
        numbered = name not in ds.scene.continuous
        ends = (0, len(values) - 1) if numbered else (f"{values[0]:.3g}", f"{values[-1]:.3g}")
        lines.append((f"<code>{name}</code>", len(values), *ends, f"{seen.median[k]:.2f}", f"{seen.least[k]:.2f}"))
    return table(titles, lines)


def score_table(result: Result) -> "IPython.display.HTML":
    """The scores of a recorded run, in one line."""
    s = result.scores
    scores = {"InfoM": s.infom, "InfoC": s.infoc, "InfoE": s.infoe}
    scores |= {"D": s.disentanglement, "C": s.completeness, "I": s.informativeness}
    titles = (*scores, "PSNR, dB", "active", "steps", "minutes", "cores")
    cores = max(place["cores"] for place in result.environments)
    ends = (f"{s.psnr:.1f}", f"{s.active.sum()}/{len(s.active)}", result.steps, f"{result.seconds / 60:.1f}", cores)
    return table(titles, [(*(f"{score:.2f}" for score in scores.values()), *ends)])


def overlap_map(ds: Twin, seen: Visibility) -> "matplotlib.figure.Figure":
    """The overlap of every pair of factors, as a table with shades."""
    import matplotlib.pyplot as plt

    n = len(ds.factor_names)
    figure, ax = plt.subplots(figsize=(0.75 * n + 1.6, 0.42 * n + 0.9))
    ax.imshow(seen.overlap, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(seen.overlap):
        ax.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=8, color="white" if value > 0.55 else "0.2")
    names = [name.replace("_", " ") for name in ds.factor_names]
    ax.set_xticks(range(n), [name.replace(" ", "\n") for name in names], fontsize=8)
    ax.set_yticks(range(n), names)
    ax.grid(False)
    return figure
