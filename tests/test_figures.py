"""Figures show what they are given, and say so when they cannot."""

import io
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest

matplotlib.use("agg")

import matplotlib.pyplot as plt

from tripod_lite import figures
from tripod_lite.metrics import InfoMEC


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


class Painter:
    """A model of three latents, the red, green and blue of flat images of 4×4 pixels."""

    def __init__(self, levels=5, quantize=True):
        self.config = SimpleNamespace(n_z=3, levels=levels, quantize=quantize)

    def encode(self, images):
        return SimpleNamespace(quantized=2 * images.mean(axis=(1, 2)) - 1)

    def decode(self, z):
        return np.broadcast_to(((z + 1) / 2)[:, None, None, :], (len(z), 4, 4, 3))


def flat(*colors):
    return np.stack([np.broadcast_to(np.float32(color), (4, 4, 3)) for color in colors])


def sheet_of(figure, ax=0):
    return np.asarray(figure.axes[ax].images[0].get_array())


def history(**more):
    return {"step": np.arange(1, 4), "loss": np.ones(3), "bce": np.ones(3)} | more


def run(**more):
    return SimpleNamespace(history=history(**more))


def test_traversals_change_one_latent_at_a_time():
    figure = figures.plot_traversals(Painter(), flat((0.25, 0.5, 1.0)))
    sheet = sheet_of(figure)[::6, ::6]  # one pixel of each image of 4 pixels and a gap of 2
    assert sheet.shape == (3, 5, 3)
    for j in range(3):
        assert sheet[j, :, j] == pytest.approx([0, 0.25, 0.5, 0.75, 1])
        others = [k for k in range(3) if k != j]
        assert sheet[j][:, others] == pytest.approx(np.tile(np.array([0.25, 0.5, 1.0])[others], (5, 1)))
    frames = [patch.get_xy() for patch in figure.axes[0].patches]
    assert frames == [(6 * 1, 0), (6 * 2, 6), (6 * 4, 12)]  # where the image itself is


@pytest.mark.parametrize("active", [[False, True, True], [0, 1, 1]], ids=["truths", "numbers"])
def test_traversals_of_chosen_latents_fade_the_inactive(active):
    figure = figures.plot_traversals(
        Painter(quantize=False), flat((0, 0, 0), (1, 1, 1)), steps=3, latents=[2, 0], active=active
    )
    assert len(figure.axes) == 2
    sheet = sheet_of(figure)[::6, ::6]
    assert sheet[0, :, 2] == pytest.approx([0, 0.5, 1])
    assert sheet[1, :, 0] == pytest.approx([0.65, 0.825, 1])
    labels = figure.axes[0].get_yticklabels()
    assert [label.get_text() for label in labels] == ["$z_{2}$", "$z_{0}$"]
    assert [label.get_color() == figures.RED for label in labels] == [False, True]


def test_traversals_stay_on_the_grid():
    model = Painter(levels=(2, 4, 12))
    sheet = sheet_of(figures.plot_traversals(model, flat((0, 0, 0)), latents=[1, 2], steps=4))[::6, ::6]
    assert sheet[0, :, 1] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert sheet[1, :, 2] == pytest.approx([0, 4 / 11, 7 / 11, 1])


def test_nmi_map_shows_inactive_latents_in_red():
    nmi = np.array([[0.9, 0.0, 0.5], [0.1, 0.8, 0.5]])
    scores = InfoMEC(1.0, 1.0, 1.0, nmi, np.array([True, True, False]))
    figure = figures.plot_nmi(scores, ("floor_hue", "scale"))
    ax = figure.axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["floor hue", "scale"]
    assert [label.get_color() == figures.RED for label in ax.get_xticklabels()] == [False, False, True]
    assert [text.get_text() for text in ax.texts] == ["0.90", "0.00", "0.50", "0.10", "0.80", "0.50"]
    red, _, blue, _ = np.moveaxis(sheet_of(figure), -1, 0)
    assert (red > blue).tolist() == [[False, False, True]] * 2
    assert sheet_of(figure)[0, 0].sum() < sheet_of(figure)[1, 0].sum()  # more information is darker


def test_history_has_a_panel_for_each_quantity_recorded():
    one = run(klm=np.ones(3), eval_step=np.array([2, 3]), infom=np.array([0.1, 0.2]), infoc=np.array([0.3, 0.4]))
    figure = figures.plot_history(one)
    shown = {ax.get_title(loc="left"): ax for ax in figure.axes if ax.get_visible()}
    assert list(shown) == ["loss", "BCE, nats a pixel and channel", "KLM, nats", "held-out InfoM, InfoC, InfoE"]
    curves = shown["held-out InfoM, InfoC, InfoE"].lines
    assert [line.get_xydata().tolist() for line in curves] == [[[2, 0.1], [3, 0.2]], [[2, 0.3], [3, 0.4]]]


def test_history_compares_runs():
    figure = figures.plot_history({"with": run(klm=np.ones(3)), "without": run()})
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["with", "without"]
    assert [len(ax.lines) for ax in figure.axes[:3]] == [2, 2, 1]


def test_latents_are_counted_on_their_grid():
    z = np.array([[-1, -1], [0, 1], [0, 1], [1, 1]])
    figure = figures.plot_latents(z / 1.0, levels=3)
    top, _, joint, right = figure.axes
    assert [bar.get_height() for bar in top.patches] == [1, 2, 1]
    assert [bar.get_height() for bar in right.patches] == [1, 0, 3]
    assert np.asarray(joint.images[0].get_array()).tolist() == [[1, 0, 0], [0, 0, 0], [0, 2, 1]]  # z_1 up, z_0 right


def test_latents_beyond_the_grid_are_counted_over_their_range():
    figure = figures.plot_latents(np.array([[0.0], [5.0], [10.0], [10.0]]), levels=3)
    assert [bar.get_height() for bar in figure.axes[0].patches] == [1, 1, 2]


def test_reconstructions_below_their_images():
    images = flat((0.5, 0.5, 0.5), (0, 0, 0), (1, 1, 1))
    figure = figures.plot_reconstructions(images, {"a": np.clip(images - 0.1, 0, 1), "b": images}, columns=1)
    assert sheet_of(figure)[::6, ::6, 0] == pytest.approx(np.array([[0.5], [0.4], [0.5]]))
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["image", "a\n20.0 dB", "b\ninf dB"]
    assert figure.axes[0].get_tightbbox().x0 >= 0  # no label is cut off


def test_sheet_of_images():
    images = (255 * flat((0, 0, 0), (1, 1, 1), (0.2, 0.2, 0.2))).astype(np.uint8)
    assert sheet_of(figures.plot_images(images, columns=2))[::6, ::6, 0] == pytest.approx(np.array([[0, 1], [0.2, 1]]))
    titled = figures.plot_images(images, columns=2, titles=["a", "b", "c"])
    assert [ax.get_title() for ax in titled.axes if ax.get_visible()] == ["a", "b", "c"]


def test_a_figure_can_be_saved_and_leaves_pyplot_when_a_notebook_shows_it(monkeypatch):
    figure = figures.plot_images(flat((0, 0, 0)))
    buffer = io.BytesIO()
    figure.savefig(buffer)
    assert buffer.getvalue().startswith(b"\x89PNG")
    assert figure._repr_mimebundle_() == {}
    assert plt.fignum_exists(figure.number)  # a window outside of a notebook stays open
    monkeypatch.setattr(matplotlib, "get_backend", lambda: "inline")
    figure._repr_mimebundle_()
    assert not plt.fignum_exists(figure.number)


ONE = flat((0, 0, 0))
SCORES = InfoMEC(1.0, 1.0, 1.0, np.eye(2), np.ones(2, bool))


@pytest.mark.parametrize(
    ("error", "match", "call"),
    [
        (ValueError, "at most three, got 4", lambda: figures.plot_traversals(Painter(), flat(*[(0, 0, 0)] * 4))),
        (ValueError, "steps must be at least 2", lambda: figures.plot_traversals(Painter(), ONE, steps=1)),
        (ValueError, "numbers from 0 to 2, got", lambda: figures.plot_traversals(Painter(), ONE, latents=[3])),
        (ValueError, "numbers from 0 to 2, got", lambda: figures.plot_traversals(Painter(), ONE, latents=[])),
        (ValueError, r"active must have shape \(3,\)", lambda: figures.plot_traversals(Painter(), ONE, active=[True])),
        (ValueError, "2 names, got 1", lambda: figures.plot_nmi(SCORES, ["one"])),
        (ValueError, "without factors", lambda: figures.plot_nmi(SCORES._replace(nmi=None))),
        (ValueError, "at least one entry", lambda: figures.plot_history(SimpleNamespace(history={}))),
        (ValueError, "empty", lambda: figures.plot_history({})),
        (ValueError, "z must have shape", lambda: figures.plot_latents(np.zeros(3))),
        (ValueError, "at most 16 latents", lambda: figures.plot_latents(np.zeros((3, 17)))),
        (ValueError, "levels must be at least 2", lambda: figures.plot_latents(np.zeros((3, 2)), levels=1)),
        (ValueError, "z must be finite", lambda: figures.plot_latents(np.full((3, 2), np.nan))),
        (ValueError, "images' shape", lambda: figures.plot_reconstructions(ONE, flat((0, 0, 0), (1, 1, 1)))),
        (ValueError, "columns must be at least 1", lambda: figures.plot_reconstructions(ONE, ONE, columns=0)),
        (ValueError, "columns must be at least 1", lambda: figures.plot_images(ONE, columns=0)),
        (ValueError, r"images must have shape \(b, h, w, 3\)", lambda: figures.plot_images(ONE[0])),
        (TypeError, "images must be uint8 or floating", lambda: figures.plot_images(ONE.astype(int))),
        (ValueError, r"images must lie in \[0, 1\]", lambda: figures.plot_images(ONE + 2)),
        (ValueError, "titles must be 1", lambda: figures.plot_images(ONE, titles=[])),
    ],
)
def test_bad_input(error, match, call):
    with pytest.raises(error, match=match):
        call()
