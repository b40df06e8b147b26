"""Sliders in a static page carry every frame unchanged; sliders on a model set its latents."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pytest

matplotlib.use("agg")

import matplotlib.pyplot as plt
from PIL import Image

from tripod_lite import widgets
from tripod_lite.widgets import figure_frames, knobs

VOID = {"input", "img"}


class Page(HTMLParser):
    """The elements of a page, which must all be closed in order."""

    def __init__(self, text: str):
        super().__init__()
        self.elements, self.script, self.text, self._open = [], "", "", []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] == "script":
            self.script += data
        else:
            self.text += data

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def decoded(uri: str) -> np.ndarray:
    head, data = uri.split(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def random_frames(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)


@pytest.mark.parametrize("colors", [8, 256])
def test_every_frame_is_in_the_page_unchanged(colors):
    frames = random_frames(3, 2, 5, 7)
    if colors == 8:
        frames = frames // 128 * 255  # packed with a palette
    page = Page(knobs(frames, {"a": "xyz", "b": [1, 2]})._repr_html_())
    sheet = decoded(re.search(r'sheet\.src = "(.*?)"', page.script)[1])
    columns = json.loads(re.search(r"= (\{\"values.*\});", page.script)[1])["columns"]
    for index, frame in enumerate(frames.reshape(-1, 5, 7, 3)):  # as the script finds it: last slider fastest
        y, x = index // columns * 5, index % columns * 7
        assert (sheet[y : y + 5, x : x + 7] == frame).all()


def test_a_slider_for_each_axis():
    frames = random_frames(4, 3, 6, 6)
    page = Page(knobs(frames, {"hue": range(4), "size": ["s", "m", "l"]}, start=(2, 1), alt="A box")._repr_html_())
    sliders = page.all("input")
    assert [(s["type"], s["min"], s["max"], s["value"], s["aria-label"], s["aria-valuetext"]) for s in sliders] == [
        ("range", "0", "3", "2", "hue", "2"),
        ("range", "0", "2", "1", "size", "m"),
    ]
    assert len(page.all("label")) == len(page.all("output")) == 2
    (still,) = page.all("img")  # what is shown without scripts: the first position
    assert (decoded(still["src"]) == frames[2, 1]).all()
    assert still["alt"] == page.all("canvas")[0]["aria-label"] == "A box"
    assert not page.all("button")


def test_small_frames_are_enlarged_and_the_page_is_never_outgrown():
    small, large = (Page(knobs(random_frames(1, 8, w), {"a": [0]})._repr_html_()).all("canvas")[0] for w in (32, 700))
    assert "width:256px;max-width:100%" in small["style"]
    assert "pixelated" in small["style"]
    assert "width:700px;max-width:100%" in large["style"]
    assert "pixelated" not in large["style"]


def test_texts_cannot_break_the_page():
    evil = '</script><b title="&$id">'
    widget = knobs(random_frames(1, 4, 4), {evil: [evil]}, caption=evil, alt=evil, play=True)
    page = Page(widget._repr_html_())
    assert not page.all("b")
    assert len(page.all("script")) == len(page.all("button")) == 1
    assert page.all("input")[0]["aria-label"] == page.all("canvas")[0]["aria-label"] == evil
    assert page.text.count(evil) == 3  # name, position, caption


def test_shown_twice_it_has_two_ids_and_no_address():
    widget = knobs(random_frames(2, 4, 4), {"a": [0, 1]})
    first, second = widget._repr_html_(), widget._repr_html_()
    assert Page(first).all("div")[0]["id"] != Page(second).all("div")[0]["id"]
    assert "http" not in first
    assert repr(widget) == "Knobs(a 2, 0.0 MB)"


def test_figures_become_frames_and_are_closed():
    plt.close("all")  # what other tests left open

    def draw(height):
        figure = plt.figure(figsize=(2, 1))
        figure.add_axes((0, 0, 1, 1)).axis("off")
        figure.axes[0].fill_between([0, 1], height, color="black")
        figure.axes[0].set(xlim=(0, 1), ylim=(0, 1))
        return figure

    frames = figure_frames((draw(height) for height in (0.25, 0.5, 1.0)), dpi=20)
    assert frames.shape == (3, 20, 40, 3)
    assert [(frame[:, 20, 0] < 128).sum() for frame in frames] == [5, 10, 20]
    assert not plt.get_fignums()
    assert len(np.unique(figure_frames([draw(0.5)], colors=2).reshape(-1, 3), axis=0)) == 2


FRAMES = random_frames(2, 3, 4, 4)
VALUES = {"a": [0, 1], "b": [0, 1, 2]}


@pytest.mark.parametrize(
    ("error", "match", "call"),
    [
        (TypeError, "frames must be uint8, got float64", lambda: knobs(FRAMES / 255, VALUES)),
        (ValueError, r"here \(3, 2\), got \(2, 3, 4, 4, 3\)", lambda: knobs(FRAMES, {"b": range(3), "a": range(2)})),
        (ValueError, r"here \(\)", lambda: knobs(FRAMES[0, 0], {})),
        (ValueError, r"here \(0,\)", lambda: knobs(FRAMES[:0, 0], {"a": []})),
        (ValueError, "start must be", lambda: knobs(FRAMES, VALUES, start=(2, 0))),
        (ValueError, "start must be", lambda: knobs(FRAMES, VALUES, start=(0,))),
        (ValueError, "scale must be positive", lambda: knobs(FRAMES, VALUES, scale=0)),
        (ValueError, "frames_per_second must be positive", lambda: knobs(FRAMES, VALUES, frames_per_second=0)),
        (ValueError, "64 MB, got 75 MB", lambda: knobs(np.zeros((1, 5000, 5000, 3), np.uint8), {"a": [0]})),
        (ValueError, "at least one", lambda: figure_frames([])),
        (ValueError, "colors must be from 2", lambda: figure_frames([plt.figure()], colors=1)),
        (ValueError, "same size", lambda: figure_frames([plt.figure(figsize=(1, 1)), plt.figure(figsize=(2, 1))])),
    ],
)
def test_bad_input(error, match, call):
    with pytest.raises(error, match=match):
        call()
    plt.close("all")


def test_a_page_is_not_overloaded(monkeypatch):
    monkeypatch.setattr(widgets, "MAX_ENCODED_MB", 0.01)
    with pytest.raises(ValueError, match=r"at most 0.01 MB as PNG, got 0\.0 MB in 2 frames"):
        knobs(random_frames(2, 50, 50), {"a": [0, 1]})
