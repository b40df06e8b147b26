"""Values are glued as MyST-NB expects them, and the style is one that figures can live with."""

import matplotlib
import nbformat
import pytest

matplotlib.use("agg")

import matplotlib.pyplot as plt

from tripod_lite import results
from tripod_lite.book import glue, load_benchmark, table, use_style
from tripod_lite.figures import COLORS


@pytest.fixture
def shown(monkeypatch):
    """What was displayed: (data, metadata) of each output."""
    display = pytest.importorskip("IPython.display")
    outputs = []
    monkeypatch.setattr(display, "display", lambda data, raw, metadata: outputs.append((data, metadata)))
    return outputs


def test_a_glued_value_is_kept_out_of_sight(shown):
    glue("floor", 7.25)
    prefix = "application/papermill.record/"
    assert shown == [({prefix + "text/plain": "7.25"}, {"scrapbook": {"name": "floor", "mime_prefix": prefix}})]


def test_a_glued_value_can_be_seen(shown):
    glue("floor", "7.25 nats", display=True)
    assert shown == [({"text/plain": "'7.25 nats'"}, {"scrapbook": {"name": "floor", "mime_prefix": ""}})]


def test_a_glued_string_keeps_its_trailing_zeros(shown):
    printed = pytest.importorskip("myst_nb.core.variables").format_plain_text
    glue("floor", "7.50")
    ((text,),) = (data.values() for data, _ in shown)
    assert printed(text, "") == "7.50"


def test_myst_nb_finds_what_was_glued(shown):
    collected = pytest.importorskip("myst_nb.ext.glue")
    glue("floor", 7.25)
    data, metadata = shown[0]
    cell = nbformat.v4.new_code_cell(outputs=[nbformat.v4.new_output("display_data", data, metadata=metadata)])
    ((name, output),) = collected.extract_glue_data_cell(cell)
    assert name == "floor"
    assert output["data"] == {"text/plain": "7.25"}
    assert cell.outputs == []


def test_glue_wants_a_name(shown):
    with pytest.raises(TypeError, match="name must be a string, got 3"):
        glue(3, "floor")
    with pytest.raises(ValueError, match="name must not be empty"):
        glue("", 3)
    assert shown == []


def test_style_sets_what_it_says():
    with matplotlib.rc_context():
        use_style()
        figure, ax = plt.subplots()
        (first,), (second,) = ax.plot([0, 1]), ax.plot([1, 0])
        assert (first.get_color(), second.get_color()) == COLORS[:2]
        assert figure.get_size_inches().tolist() == [7, 3]
        assert figure.get_facecolor() == (1, 1, 1, 1)
        plt.close(figure)


def test_a_table_has_a_title_a_column_and_a_line_a_row():
    pytest.importorskip("IPython.display")
    soup = pytest.importorskip("bs4").BeautifulSoup(
        table(("size", "ms"), [("tiny", 1), ("paper", 2.5)]).data, "html.parser"
    )
    assert [[cell.get_text() for cell in line.find_all(["th", "td"])] for line in soup.find_all("tr")] == [
        ["size", "ms"],
        ["tiny", "1"],
        ["paper", "2.5"],
    ]


@pytest.mark.parametrize("recorded", ["data/results", "tripod_lite/recorded"])
def test_benchmarks_are_found_in_a_repository_and_in_an_installed_package(recorded, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "__file__", str(tmp_path / "tripod_lite/results.py"))
    (tmp_path / recorded).mkdir(parents=True)
    assert load_benchmark("training-cpu") is None
    path = tmp_path / recorded / "../benchmarks/training-cpu.json"
    path.parent.mkdir()
    path.write_text('{"points": {}}')
    assert load_benchmark("training-cpu") == {"points": {}}
