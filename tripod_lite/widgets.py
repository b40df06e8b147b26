"""Figures to play with in a static page, which need no kernel."""

import base64
import html
import io
import json
import math
import string
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from jaxtyping import UInt8

if TYPE_CHECKING:
    import matplotlib.figure

MAX_RAW_MB = 64
MAX_ENCODED_MB = 4
SMALL = 256  # CSS pixels to which small frames are enlarged

# Colors and fonts are the page's own, so that it suits light and dark pages. `$id` is new each time it is shown: the
# script finds its own figure by it, however a notebook or a page inserts scripts.
PAGE = string.Template("""\
<div id="$id" class="tl-widget" style="max-width:100%;margin:0.5em 0">
<div style="display:flex;flex-wrap:wrap;gap:0.75em 1.5em;align-items:center">
<canvas role="img" aria-label="$alt" width="$width" height="$height" \
style="width:${shown}px;max-width:100%;height:auto;$rendering"></canvas>
<div style="flex:1 1 15em;min-width:0">
$sliders
$button
</div>
</div>
$caption
<noscript><img src="$still" alt="$alt" style="width:${shown}px;max-width:100%;$rendering"></noscript>
<script>
(() => {
  const root = document.getElementById("$id");
  const {values, columns, width, height, alt, delay} = $data;
  const inputs = [...root.querySelectorAll("input")];
  const outputs = [...root.querySelectorAll("output")];
  const canvas = root.querySelector("canvas");
  const sheet = new Image();
  const draw = () => {
    const places = inputs.map((input) => Number(input.value));
    const frame = places.reduce((index, place, axis) => index * values[axis].labels.length + place, 0);
    const now = places.map((place, axis) => values[axis].labels[place]);
    outputs.forEach((output, axis) => { output.textContent = now[axis]; });
    inputs.forEach((input, axis) => input.setAttribute("aria-valuetext", now[axis]));
    const said = now.map((label, axis) => values[axis].name + " " + label).join(", ");
    canvas.setAttribute("aria-label", alt + ": " + said);
    if (sheet.complete && sheet.naturalWidth) {
      canvas.getContext("2d").drawImage(sheet, (frame % columns) * width, Math.floor(frame / columns) * height,
        width, height, 0, 0, width, height);
    }
  };
  inputs.forEach((input) => input.addEventListener("input", draw));
  sheet.addEventListener("load", draw);
  sheet.src = "$sheet";
  draw();
  const button = root.querySelector("button");
  let timer = null;
  if (button) button.addEventListener("click", () => {
    button.textContent = timer ? "Play" : "Pause";
    if (timer) { clearInterval(timer); timer = null; return; }
    timer = setInterval(() => {
      if (!root.isConnected) { clearInterval(timer); return; }
      inputs[0].value = (Number(inputs[0].value) + 1) % values[0].labels.length;
      draw();
    }, delay);
  });
})();
</script>
</div>""")

SLIDER = string.Template("""\
<label style="display:flex;flex-wrap:wrap;gap:0 0.75em;align-items:center;margin:0.25em 0">
<span style="flex:0 0 min(${name_wide}ch, 100%)">$name</span>
<input type="range" min="0" max="$last" step="1" value="$place" aria-label="$name" aria-valuetext="$label" \
style="flex:1 1 6em;min-width:0;margin:0">
<output style="flex:0 0 ${label_wide}ch;font-variant-numeric:tabular-nums">$label</output>
</label>""")


class Knobs:
    """What `knobs` returns; a notebook shows it.

    Attributes:
        sheet: all frames in one PNG, row by row.
        columns: frames in a row of the sheet.
    """

    def __init__(self, sheet: bytes, columns: int, still: bytes, fields: dict[str, Any]):
        self.sheet, self.columns = sheet, columns
        self._still, self._fields = still, fields

    def _repr_html_(self) -> str:
        return PAGE.substitute(
            self._fields, id=f"knobs-{uuid.uuid4().hex}", sheet=_data_uri(self.sheet), still=_data_uri(self._still)
        )

    def __repr__(self) -> str:
        return f"Knobs({self._fields['summary']}, {len(self.sheet) / 1e6:.1f} MB)"


def knobs(
    frames: UInt8[np.ndarray, "*sizes h w 3"] | npt.ArrayLike,
    values: Mapping[str, Sequence[object]],
    *,
    start: Sequence[int] | None = None,
    caption: str = "",
    alt: str = "A figure that the sliders change",
    scale: int | float | None = None,
    play: bool = False,
    frames_per_second: int | float = 5,
) -> Knobs:
    """Sliders that choose among frames drawn beforehand, in any HTML page, without a kernel or a network.

    Args:
        frames: uint8, shape (n_1, …, n_k, h, w, 3): one slider for each of the first k axes.
        values: the sliders' names, in the order of the axes, and what to write beside each of their n_i positions.
        start: the positions to begin with, k of them; by default all 0.
        caption: a line below.
        alt: what is shown, for readers who cannot see it; the sliders' positions are added to it.
        scale: CSS pixels a pixel; by default small frames are enlarged to about 256. Never wider than the page.
        play: whether to have a button that runs through the first slider.
        frames_per_second: how fast.

    Returns:
        `Knobs`, shown where it is the last line of a cell.

    Raises:
        TypeError: frames are not uint8.
        ValueError: frames and values do not fit; positions that do not exist; more than 64 MB of pixels or 4 MB as PNG.
    """
    frames = np.asarray(frames)
    if frames.dtype != np.uint8:
        raise TypeError(f"frames must be uint8, got {frames.dtype}")
    sizes = tuple(len(labels) for labels in values.values())
    if not sizes or frames.shape[:-3] != sizes or frames.shape[-1] != 3 or 0 in frames.shape:
        raise ValueError(
            f"frames must have shape (n_1, …, n_k, h, w, 3) with one n_i for each of values, "
            f"here {sizes}, got {frames.shape}"
        )
    start = tuple(start) if start is not None else (0,) * len(sizes)
    if len(start) != len(sizes) or not all(0 <= place < size for place, size in zip(start, sizes, strict=True)):
        raise ValueError(f"start must be one position a slider, each from 0 and below {sizes}, got {start}")
    if frames.nbytes > MAX_RAW_MB * 1e6:
        raise ValueError(
            f"frames must be at most {MAX_RAW_MB} MB, got {frames.nbytes / 1e6:.0f} MB in {math.prod(sizes)} frames; "
            "fewer or smaller ones will do"
        )
    if scale is not None and not scale > 0:
        raise ValueError(f"scale must be positive, got {scale}")
    if not frames_per_second > 0:
        raise ValueError(f"frames_per_second must be positive, got {frames_per_second}")
    height, width = frames.shape[-3:-1]
    flat = frames.reshape(-1, height, width, 3)
    columns = max(1, round(math.sqrt(len(flat) * height / width)))
    sheet = png(_packed(flat, columns))
    if len(sheet) > MAX_ENCODED_MB * 1e6:
        raise ValueError(
            f"frames must be at most {MAX_ENCODED_MB} MB as PNG, got {len(sheet) / 1e6:.1f} MB in {len(flat)} frames; "
            "fewer, smaller or simpler ones will do"
        )
    texts = {name: [str(label) for label in labels] for name, labels in values.items()}
    scale = max(1, round(SMALL / width)) if scale is None else scale
    name_wide, label_wide = max(map(len, texts)), max(len(label) for labels in texts.values() for label in labels) + 1
    sliders = [
        SLIDER.substitute(
            name=html.escape(name),
            last=len(labels) - 1,
            place=place,
            label=html.escape(labels[place]),
            name_wide=name_wide,
            label_wide=label_wide,
        )
        for place, (name, labels) in zip(start, texts.items(), strict=True)
    ]
    data = {
        "values": [{"name": name, "labels": labels} for name, labels in texts.items()],
        "columns": columns,
        "width": width,
        "height": height,
        "alt": alt,
        "delay": round(1000 / frames_per_second),
    }
    fields = {
        "alt": html.escape(alt),
        "width": width,
        "height": height,
        "shown": round(width * scale),
        "rendering": "image-rendering:pixelated" if scale > 1 else "",
        "sliders": "\n".join(sliders),
        "button": '<button type="button" style="font:inherit">Play</button>' if play else "",
        "caption": f'<p style="margin:0.5em 0 0">{html.escape(caption)}</p>' if caption else "",
        "data": json.dumps(data).replace("</", "<\\/"),
        "summary": " × ".join(f"{name} {len(labels)}" for name, labels in texts.items()),
    }
    return Knobs(sheet, columns, png(frames[start]), fields)


def figure_frames(
    figures: "Iterable[matplotlib.figure.Figure]", dpi: int | float = 110, colors: int = 256
) -> UInt8[np.ndarray, "n h w 3"]:
    """Matplotlib figures as frames for `knobs`. They are closed, so that the notebook does not show each of them.

    Args:
        figures: of the same size; a generator that draws one after the other needs the least memory.
        dpi: pixels an inch; a figure of 6.4 inches fills a text column at the default.
        colors: how many, shared by all frames, 2 to 256. So few make a PNG several times smaller than all would.

    Raises:
        ValueError: no figures, or of different sizes; colors out of range.
    """
    import matplotlib.pyplot as plt
    from PIL import Image

    if not 2 <= colors <= 256:
        raise ValueError(f"colors must be from 2 to 256, got {colors}")
    pictures = []
    for figure in figures:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=dpi, facecolor="white", pil_kwargs={"compress_level": 1})
        plt.close(figure)
        pictures.append(np.asarray(Image.open(buffer).convert("RGB")))
        if pictures[-1].shape != pictures[0].shape:
            raise ValueError(f"figures must have the same size, got {pictures[0].shape} and {pictures[-1].shape}")
    if not pictures:
        raise ValueError("figures must be at least one, got none")
    n, (height, width) = len(pictures), pictures[0].shape[:2]
    column = Image.fromarray(np.concatenate(pictures))
    few = column.quantize(colors, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).convert("RGB")
    return np.asarray(few).reshape(n, height, width, 3)


def _packed(frames: UInt8[np.ndarray, "n h w 3"], columns: int) -> UInt8[np.ndarray, "H W 3"]:
    """Frames side by side, row by row, black where the last row has none."""
    n, height, width, _ = frames.shape
    rows = -(-n // columns)
    padded = np.concatenate([frames, np.zeros((rows * columns - n, height, width, 3), np.uint8)])
    return padded.reshape(rows, columns, height, width, 3).swapaxes(1, 2).reshape(rows * height, columns * width, 3)


def png(picture: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """The smallest PNG that keeps every pixel: with a palette where 256 colors are enough."""
    from PIL import Image

    image = Image.fromarray(picture)
    if image.getcolors(256) is not None:
        image = image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
