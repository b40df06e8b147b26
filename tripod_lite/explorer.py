"""Sliders on a live model: what `knobs` shows in a static page, for every latent and any image."""

import html
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8

from tripod_lite.widgets import SMALL, png

if TYPE_CHECKING:
    import ipywidgets

    from tripod_lite.metrics import Scores

CONTINUOUS = 41  # positions of a slider whose latent has no grid
STRIP = 12  # pictures of a traversal, at most
FRAME = (200, 30, 30)  # of the picture at the slider's value
BORDER = 2  # pixels around each picture of a traversal, in which the frame is drawn


def explore(model: Any, ds: Any, *, scores: "Scores | None" = None) -> "ipywidgets.VBox":
    """Sliders over the latents of a model, in a notebook with a running kernel; for static pages see `knobs`.

    Args:
        model: a `Tripod`.
        ds: a data set of images of the model's size; the first thousand of its held-out part can be chosen.
        scores: the model's, from `evaluate`; None: taken here, on at most 2000 held-out images, in some seconds.

    Returns:
        The widget: an image, its reconstruction, and a slider for each latent, on its grid where it has one. Of the
        latent that was moved last it shows whether it is active, the decoded image along its values, with a frame at
        the one that is nearest, and what it knows of each source (NMI), where the data set has sources.

    Raises:
        ImportError: ipywidgets is not installed.
        ValueError: images of another size than the model's; scores of a model with another number of latents; where
            there are no scores, a source that takes only one value among the images.
    """
    try:
        import ipywidgets
    except ImportError as error:
        raise ImportError('explore needs ipywidgets; install it with: pip install "tripod-lite[book]"') from error
    from flax import nnx

    from tripod_lite.metrics import evaluate

    config = model.config
    if ds.image_size != config.image_size:
        raise ValueError(f"ds must have images of the model's size {config.image_size}, got {ds.image_size}")
    held_out = ds.split()[1] if ds.part == "all" else ds
    if scores is None:
        scores = evaluate(model, held_out, n=min(2000, len(held_out)), everything=False)
    if len(scores.active) != config.n_z:
        raise ValueError(f"scores must be of a model with {config.n_z} latents, got {len(scores.active)}")
    encode = nnx.jit(lambda model, images: model.encode(images).quantized)
    decode = nnx.jit(lambda model, z: (255 * model.decode(z) + 0.5).astype(np.uint8))
    levels = np.broadcast_to(config.levels, config.n_z) if config.quantize else np.full(config.n_z, CONTINUOUS)
    positions = [np.linspace(-1, 1, count, dtype=np.float32) for count in levels]

    original, decoded, strip = ipywidgets.Image(), ipywidgets.Image(), ipywidgets.Image()
    heading, knows = ipywidgets.HTML(), ipywidgets.HTML()
    chosen = ipywidgets.IntSlider(min=0, max=min(1000, len(held_out)) - 1, description="image")
    sliders = [
        ipywidgets.SelectionSlider(options=[f"{value:.2f}" for value in grid], description=f"z_{j}")
        for j, grid in enumerate(positions)
    ]
    moved = int(np.argmax(scores.active))  # the latent that was moved last
    placing = False  # while all sliders are put in place there is one drawing, at the end

    def redraw() -> None:
        z = np.array([grid[slider.index] for grid, slider in zip(positions, sliders, strict=True)])
        grid, here = positions[moved], sliders[moved].index
        shown = np.unique(np.linspace(0, len(grid) - 1, min(len(grid), STRIP)).round().astype(int))
        along = np.tile(z, (len(shown) + 1, 1))
        along[1:, moved] = grid[shown]
        pictures = np.asarray(decode(model, along))
        decoded.value = _enlarged(pictures[0])
        strip.value = png(_strip(pictures[1:], int(np.abs(shown - here).argmin())))
        heading.value = f"<b>z_{moved}, {'active' if scores.active[moved] else 'inactive'}</b>"
        knows.value = "" if scores.nmi is None else _bars(scores.factor_names, scores.nmi[:, moved])

    def move(j: int) -> None:
        nonlocal moved
        if not placing:
            moved = j
            redraw()

    def choose(_: Any = None) -> None:
        nonlocal placing
        images = held_out.take(np.array([chosen.value]))[0]
        original.value = _enlarged(np.asarray(images[0]))
        placing = True
        for slider, grid, value in zip(sliders, positions, np.asarray(encode(model, images))[0], strict=True):
            slider.index = int(np.abs(grid - value).argmin())
        placing = False
        redraw()

    for j, slider in enumerate(sliders):
        slider.observe(lambda _, j=j: move(j), "index")
    chosen.observe(choose, "value")
    choose()
    beside = ipywidgets.VBox([heading, strip, knows])
    below = ipywidgets.HBox([ipywidgets.VBox(sliders), beside], layout=ipywidgets.Layout(flex_flow="row wrap"))
    return ipywidgets.VBox([chosen, ipywidgets.HBox([original, decoded]), below])


def _enlarged(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
    times = max(1, round(SMALL / len(image)))
    return png(image.repeat(times, axis=0).repeat(times, axis=1))


def _strip(pictures: UInt8[np.ndarray, "n h w 3"], here: int) -> UInt8[np.ndarray, "H W 3"]:
    """Pictures side by side, a frame around one of them."""
    edges = ((0, 0), (BORDER, BORDER), (BORDER, BORDER), (0, 0))
    framed = np.pad(pictures, edges, constant_values=255)
    inside = framed[here, BORDER:-BORDER, BORDER:-BORDER].copy()
    framed[here] = FRAME
    framed[here, BORDER:-BORDER, BORDER:-BORDER] = inside
    return np.concatenate(list(framed), axis=1)


def _bars(names: tuple[str, ...], nmi: Float[np.ndarray, " n_s"]) -> str:
    """A bar a source, in the page's own colors."""
    bar = '<div style="width:{:.0f}px;height:0.7em;background:currentColor;opacity:0.6"></div>'
    rows = [
        f"<tr><td>{html.escape(name.replace('_', ' '))}&emsp;</td><td>{bar.format(120 * value)}</td>"
        f"<td>&ensp;{value:.2f}</td></tr>"
        for name, value in zip(names, nmi, strict=True)
    ]
    return f'<table aria-label="NMI of the latent and each source">{"".join(rows)}</table>'
