"""The figures: traversals, the NMI map, training curves, latents, and sheets of images. All return matplotlib figures.

They behave like pyplot's, in a script (`plt.show()`, `figure.savefig`) as in a notebook, but for one thing: as the last
line of a cell a figure is shown once, not twice.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Float

from tripod_lite.metrics.tables import as_table

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

WIDTH = 7.0  # inches; a text column
GAP = 2  # pixels between images

# Okabe and Ito (2008): told apart by color-blind readers, in print and on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
RED = "#C81E1E"

PANELS = {
    "loss": ("loss",),
    "BCE, nats a pixel and channel": ("bce",),
    "KLM, nats": ("klm",),
    "NHP": ("nhp",),
    "held-out PSNR, dB": ("psnr",),
    "held-out InfoM, InfoC, InfoE": ("infom", "infoc", "infoe"),
}
EVALUATED = ("psnr", "infom", "infoc", "infoe")


def plot_traversals(
    model: Any,
    images: npt.ArrayLike,
    *,
    steps: int | None = None,
    latents: Sequence[int] | None = None,
    active: npt.ArrayLike | None = None,
) -> "matplotlib.figure.Figure":
    """What each latent does: decoded images, one row a latent, its value going from -1 to 1, the others as encoded.

    Args:
        model: a `Tripod`, or anything with its `encode`, `decode` and `config`.
        images: to start from, uint8 or floats in [0, 1], shape (b, h, w, 3), one panel each; up to three fit.
        steps: values a latent, at least 2; by default 12 shared among the panels. On a grid of L levels, at most L.
        latents: which, by number, in the order of the rows; by default all.
        active: which of all n_z latents are active, shape (n_z,), as in `Scores`; the others are faded, labels red.

    Returns:
        The figure. A frame marks the image's own value, where it is among those shown.

    Raises:
        TypeError, ValueError: wrong images, steps, latents that do not exist, or a wrong shape of `active`.
    """
    pictures = _pictures("images", images)
    panels, n_z = len(pictures), model.config.n_z
    if panels > 3:
        raise ValueError(f"images must be at most three, got {panels}")
    steps = max(2, 12 // panels) if steps is None else steps
    if steps < 2:
        raise ValueError(f"steps must be at least 2, got {steps}")
    rows = list(range(n_z) if latents is None else latents)
    if not rows or any(not 0 <= j < n_z for j in rows):
        raise ValueError(f"latents must be numbers from 0 to {n_z - 1}, got {rows}")
    active = np.ones(n_z, bool) if active is None else np.asarray(active, bool)
    if active.shape != (n_z,):
        raise ValueError(f"active must have shape ({n_z},), got {active.shape}")

    levels = np.broadcast_to(model.config.levels, n_z) if model.config.quantize else np.full(n_z, steps)
    code = np.asarray(model.encode(pictures).quantized, np.float32)
    steps = min(steps, *(int(levels[j]) for j in rows))
    figure = _figure(WIDTH, 0.45 + WIDTH * len(rows) / (panels * steps + 0.4))
    for panel, (z, ax) in enumerate(zip(code, figure.subplots(1, panels, squeeze=False)[0], strict=True)):
        values = np.stack([_values(int(levels[j]), steps) for j in rows])
        codes = np.broadcast_to(z, (len(rows), steps, n_z)).copy()
        for row, j in enumerate(rows):
            codes[row, :, j] = values[row]
        decoded = np.array(model.decode(codes.reshape(-1, n_z))).reshape(len(rows), steps, *pictures.shape[1:])
        faded = ~active[rows]
        decoded[faded] = 1 - 0.35 * (1 - decoded[faded])
        size = pictures.shape[1] + GAP
        _show(ax, _sheet(decoded.reshape(-1, *pictures.shape[1:]), steps))
        for row, j in enumerate(rows):
            own = np.abs(values[row] - z[j])
            if own.min() < 1e-3:
                _frame(ax, int(own.argmin()) * size, row * size, size)
        ax.set_xticks([size * (steps - 1) * t + (size - GAP) / 2 for t in (0, 0.5, 1)], ["-1", "0", "1"])
        ax.set_yticks([size * row + (size - GAP) / 2 for row in range(len(rows))], [f"$z_{{{j}}}$" for j in rows])
        _redden(ax.get_yticklabels(), faded)
        if panel:
            ax.set_yticklabels([])
    return _settled(figure)


def plot_nmi(scores: Any, factor_names: Sequence[str] | None = None) -> "matplotlib.figure.Figure":
    """Which latent tells of which source: normalized mutual information, sources × latents, inactive latents in red.

    Args:
        scores: `Scores` of a data set with factors, or an `InfoMEC`.
        factor_names: one a source; by default those of the scores, else s_0, s_1, ….

    Raises:
        ValueError: scores without NMI, or another number of names.
    """
    import matplotlib

    nmi, active = scores.nmi, scores.active
    if nmi is None:
        raise ValueError("scores must have nmi, but these are of a data set without factors")
    n_s, n_z = nmi.shape
    known = getattr(scores, "factor_names", None) or [f"$s_{{{i}}}$" for i in range(n_s)]
    names = list(known if factor_names is None else factor_names)
    if len(names) != n_s:
        raise ValueError(f"factor_names must be {n_s} names, got {len(names)}: {names}")
    colors = matplotlib.colormaps["Blues"](np.clip(nmi, 0, 1))
    colors[:, ~active] = matplotlib.colormaps["Reds"](0.15 + 0.7 * np.clip(nmi[:, ~active], 0, 1))
    figure = _figure(WIDTH, 0.7 + 0.42 * n_s)
    ax = figure.subplots()
    ax.imshow(colors, aspect="auto", interpolation="nearest")
    if n_z <= 16:
        for (i, j), value in np.ndenumerate(nmi):
            ink = "white" if value > 0.55 else "#222222"
            ax.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=9 if n_z <= 12 else 7, color=ink)
    ax.set_yticks(range(n_s), [name.replace("_", " ") if "$" not in name else name for name in names])
    every = 1 if n_z <= 24 else 5
    ax.set_xticks(range(0, n_z, every), [f"$z_{{{j}}}$" for j in range(0, n_z, every)])
    _redden(ax.get_xticklabels(), ~active[::every])
    ax.set_xticks(np.arange(n_z - 1) + 0.5, minor=True)
    ax.set_yticks(np.arange(n_s - 1) + 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=1.5)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)
    scale = matplotlib.cm.ScalarMappable(matplotlib.colors.Normalize(0, 1), "Blues")
    figure.colorbar(scale, ax=ax, label="NMI", fraction=0.04, pad=0.02).outline.set_visible(False)
    return figure


def plot_history(run: Any) -> "matplotlib.figure.Figure":
    """Training curves, one panel a quantity; held-out scores where the run has them.

    Args:
        run: a `Run`, or several to compare, `{label: Run}`.

    Raises:
        ValueError: no run, or a history without entries.
    """
    runs = dict(run) if isinstance(run, Mapping) else {"": run}
    if not runs:
        raise ValueError("run must be a Run or a dictionary of at least one, got an empty one")
    for label, one in runs.items():
        if not len(one.history.get("step", ())):
            raise ValueError(f"run {label!r} must have a history of at least one entry, got {list(one.history)}")
    recorded = {name for one in runs.values() for name in one.history}
    shown = {title: names for title, names in PANELS.items() if recorded.intersection(names)}
    rows = -(-len(shown) // 2)
    figure = _figure(WIDTH, 0.3 + 1.75 * rows)
    grid = figure.subplots(rows, 2, squeeze=False)
    for (title, names), ax in zip(shown.items(), grid.flat, strict=False):
        for index, (label, one) in enumerate(runs.items()):
            for name, dashes in zip(names, ("-", "--", ":"), strict=False):
                if name in one.history:
                    _curve(ax, one.history, name, COLORS[index % len(COLORS)], dashes, label)
        ax.set_title(title, fontsize=10, loc="left")
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.3)
        ax.margins(x=0.02)
    for ax in grid.flat[len(shown) :]:
        ax.set_visible(False)
    for ax in grid[-1]:
        ax.set_xlabel("step")
    if len(runs) > 1:
        handles, labels = grid.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=len(labels), frameon=False)
    return figure


def plot_latents(z: npt.ArrayLike, levels: int = 12) -> "matplotlib.figure.Figure":
    """How latents are distributed: histograms on the diagonal, joint histograms below.

    Args:
        z: latents, shape (n, n_z), n_z from 1 to 16. Binned on the grid in [-1, 1], or over their range if beyond it.
        levels: L, bins a latent.

    Returns:
        The figure. Each joint histogram is dark where it has its largest count.

    Raises:
        TypeError, ValueError: not a table of finite numbers, too many latents, or levels below 2.
    """
    z = as_table("z", z).astype(np.float64)
    n_z = z.shape[1]
    if n_z > 16:
        raise ValueError(f"z must have at most 16 latents to be legible, got {n_z}; choose some columns")
    if levels < 2:
        raise ValueError(f"levels must be at least 2, got {levels}")
    if np.abs(z).max() > 1:
        middle, half = (z.max(axis=0) + z.min(axis=0)) / 2, np.maximum(np.ptp(z, axis=0) / 2, 1e-12)
        z = (z - middle) / half
    bins = np.rint((z + 1) / 2 * (levels - 1)).astype(int)
    one_hot = np.eye(levels)[bins]
    figure = _figure(WIDTH, WIDTH)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    grid = figure.subplots(n_z, n_z, squeeze=False)
    for i in range(n_z):
        for j in range(n_z):
            ax = grid[i, j]
            ax.set(xticks=[], yticks=[])
            if j > i:
                ax.set_visible(False)
            elif j == i:
                ax.bar(range(levels), one_hot[:, i].sum(axis=0), width=0.9, color=COLORS[0])
                ax.set_xlim(-0.5, levels - 0.5)
                ax.spines[["top", "left", "right"]].set_visible(False)
                name = ax.annotate(f"$z_{{{i}}}$", (0.5, 1), (0, 2), "axes fraction", "offset points", ha="center")
                name.set_in_layout(i == 0)  # the others have an empty place above them
            else:
                counts = one_hot[:, i].T @ one_hot[:, j]
                ax.imshow(counts, origin="lower", aspect="auto", cmap="Blues", vmin=0)
                ax.spines[:].set_color("#999999")
    return figure


def plot_reconstructions(
    images: npt.ArrayLike, reconstructions: npt.ArrayLike | Mapping[str, npt.ArrayLike], *, columns: int = 8
) -> "matplotlib.figure.Figure":
    """Images above their reconstructions, with the mean PSNR of those shown.

    Args:
        images: uint8 or floats in [0, 1], shape (b, h, w, 3).
        reconstructions: likewise, the same shape; or several to compare, `{label: reconstructions}`.
        columns: how many of the b images to show, the first ones.

    Raises:
        TypeError, ValueError: not such images; different shapes; columns below 1.
    """
    from tripod_lite.metrics import psnr

    if columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}")
    several = reconstructions if isinstance(reconstructions, Mapping) else {"reconstruction": reconstructions}
    originals = _pictures("images", images)
    rows, labels = [originals[:columns]], ["image"]
    for label, array in several.items():
        pictures = _pictures("reconstructions", array)
        if pictures.shape != originals.shape:
            raise ValueError(f"reconstructions must have the images' shape {originals.shape}, got {pictures.shape}")
        rows.append(pictures[:columns])
        labels.append(f"{label}\n{psnr(rows[0], rows[-1]):.1f} dB")
    columns, height, width = len(rows[0]), *originals.shape[1:3]
    figure = _figure(WIDTH, 0.1 + 0.85 * WIDTH * len(rows) * height / (columns * width))
    ax = figure.subplots()
    _show(ax, _sheet(np.concatenate(rows), columns))
    ax.set_yticks([(height + GAP) * row + height / 2 for row in range(len(rows))], labels)
    return _settled(figure)


def plot_images(
    images: npt.ArrayLike, *, columns: int = 8, titles: Sequence[str] | None = None
) -> "matplotlib.figure.Figure":
    """A sheet of images, row by row.

    Args:
        images: uint8 or floats in [0, 1], shape (b, h, w, 3).
        columns: images a row.
        titles: one an image, short, written above it.

    Raises:
        TypeError, ValueError: not such images; columns below 1; another number of titles.
    """
    pictures = _pictures("images", images)
    if columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}")
    if titles is not None and len(titles) != len(pictures):
        raise ValueError(f"titles must be {len(pictures)}, one an image, got {len(titles)}")
    columns = min(columns, len(pictures))
    rows, (height, width) = -(-len(pictures) // columns), pictures.shape[1:3]
    if titles is None:
        figure = _figure(WIDTH, WIDTH * rows * height / (columns * width))
        _show(figure.subplots(), _sheet(pictures, columns))
        return figure
    figure = _figure(WIDTH, rows * (0.25 + WIDTH * height / (columns * width)))
    for index, ax in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        if index < len(pictures):
            _show(ax, pictures[index])
            ax.set_title(titles[index], fontsize=9, pad=2)
        else:
            ax.set_visible(False)
    return figure


def _figure(width: int | float, height: int | float) -> "matplotlib.figure.Figure":
    """A figure of pyplot's, width and height in inches, that a notebook shows once.

    A notebook shows the value of a cell's last line, and then every figure that pyplot still holds: this one leaves
    pyplot when it is shown.
    """
    import matplotlib.figure
    import matplotlib.pyplot as plt

    class ShownOnce(matplotlib.figure.Figure):
        def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
            if "inline" in matplotlib.get_backend():
                plt.close(self)
            return {}  # the picture itself is the backend's to make

    return plt.figure(FigureClass=ShownOnce, figsize=(width, height), layout="constrained", facecolor="white")


def _settled(figure: "matplotlib.figure.Figure") -> "matplotlib.figure.Figure":
    """Around axes of a fixed aspect the layout finds room for long labels only in the second pass: do the first."""
    figure.draw_without_rendering()
    return figure


def _pictures(name: str, images: npt.ArrayLike) -> Float[np.ndarray, "b h w 3"]:
    pictures = np.asarray(images)
    if pictures.ndim != 4 or pictures.shape[-1] != 3 or 0 in pictures.shape:
        raise ValueError(f"{name} must have shape (b, h, w, 3), got {pictures.shape}")
    if pictures.dtype == np.uint8:
        return pictures.astype(np.float32) / 255
    if not np.issubdtype(pictures.dtype, np.floating):
        raise TypeError(f"{name} must be uint8 or floating point in [0, 1], got {pictures.dtype}")
    if not (pictures.min() >= 0 and pictures.max() <= 1):  # also false for NaN
        raise ValueError(f"{name} must lie in [0, 1], got values from {pictures.min()} to {pictures.max()}")
    return pictures.astype(np.float32)


def _values(levels: int, steps: int) -> Float[np.ndarray, " steps"]:
    """Values from -1 to 1, as evenly spaced as the grid of levels allows."""
    return 2 * np.rint(np.linspace(0, levels - 1, steps)) / (levels - 1) - 1


def _sheet(pictures: Float[np.ndarray, "b h w 3"], columns: int) -> Float[np.ndarray, "H W 3"]:
    """Images side by side in rows of `columns`, with white gaps."""
    b, height, width, _ = pictures.shape
    rows = -(-b // columns)
    sheet = np.ones((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), np.float32)
    for index, picture in enumerate(pictures):
        y, x = (index // columns) * (height + GAP), (index % columns) * (width + GAP)
        sheet[y : y + height, x : x + width] = picture
    return sheet


def _show(ax: "matplotlib.axes.Axes", picture: Float[np.ndarray, "h w 3"]) -> None:
    height, width = picture.shape[:2]
    ax.imshow(picture, extent=(0, width, height, 0))
    ax.set(xticks=[], yticks=[])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _frame(ax: "matplotlib.axes.Axes", x: int, y: int, size: int) -> None:
    from matplotlib.patches import Rectangle

    side = size - GAP
    ax.add_patch(Rectangle((x, y), side, side, fill=False, edgecolor="black", linewidth=1.5, clip_on=False))


def _redden(labels: Sequence[Any], which: Sequence[bool] | np.ndarray) -> None:
    for label, red in zip(labels, which, strict=True):
        if red:
            label.set_color(RED)


def _curve(
    ax: "matplotlib.axes.Axes", history: Mapping[str, Any], name: str, color: str, dashes: str, label: str
) -> None:
    """One quantity over the steps; InfoM, InfoC and InfoE share a panel, so their ends are lettered M, C and E."""
    steps, values = history["eval_step" if name in EVALUATED else "step"], history[name]
    ax.plot(steps, values, dashes, color=color, label=label, marker="." if len(steps) < 20 else None)
    if name.startswith("info"):
        letter = name[-1].upper()
        ax.annotate(letter, (steps[-1], values[-1]), (5, 0), textcoords="offset points", va="center", color=color)
