"""What the chapters share: one look for plots, and numbers that the text quotes from the computation."""


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
