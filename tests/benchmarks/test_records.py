"""A benchmark's file is whole at every moment, goes on where it stopped, and never mixes code or machines."""

import json

import pytest

from benchmarks import records
from benchmarks.records import Record, table

HERE = {name: "this" for name in (*records.SAME, "commit", "date")}


@pytest.fixture
def here(monkeypatch):
    """What this process runs on, to be changed by a test."""
    place = dict(HERE)
    monkeypatch.setattr(records, "environment", lambda: dict(place))
    monkeypatch.setattr(records, "code", lambda: place["code"])
    return place


@pytest.fixture
def path(tmp_path, here):
    path = tmp_path / "folder" / "figures.json"
    first = Record(path)
    first.begin({"rate": 1.0})
    first.add("a", {"seconds": 1.5})
    assert first.finish(["a"])
    return path


def unfinished(path):
    return path.with_name("figures.json.unfinished")


def test_every_point_is_written_and_the_file_changes_when_all_are_there(path):
    before = path.read_text()
    record = Record(path)
    record.begin({"rate": 2.0})
    record.add("b", {"seconds": 2.5})
    assert not record.finish(["a", "b", "c"])
    assert path.read_text() == before
    written = json.loads(unfinished(path).read_text())
    assert written["points"] == {"a": {"seconds": 1.5, "run": 0}, "b": {"seconds": 2.5, "run": 1}}
    assert [run["rate"] for run in written["runs"]] == [1.0, 2.0]
    assert written["runs"][1]["environment"] == HERE
    record = Record(path)
    record.begin({"rate": 3.0})
    record.add("c", {"seconds": 3.5})
    assert record.finish(["a", "b", "c"])
    assert json.loads(path.read_text())["points"].keys() == {"a", "b", "c"}
    assert [p.name for p in path.parent.iterdir()] == ["figures.json"]


def test_a_file_that_has_all_points_stays_as_it_is(path):
    before = path.read_text()
    assert Record(path).finish(["a"])
    assert path.read_text() == before


def test_figures_of_other_code_that_were_left_unfinished_do_not_take_the_place_of_whole_ones(path, here):
    before = path.read_text()
    here["code"] = "other"
    record = Record(path)
    record.begin({})
    record.add("a", {"seconds": 9.0})  # and cut off
    here["code"] = "this"
    record = Record(path)
    assert record.points == {"a": {"seconds": 1.5, "run": 0}}
    assert record.finish(["a"])
    assert path.read_text() == before


def test_a_run_that_was_cut_off_while_writing_leaves_the_old_file(path, monkeypatch):
    before = path.read_text()
    record = Record(path)
    record.begin({})
    monkeypatch.setattr(records.os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        record.add("b", {"seconds": 2.5})
    assert path.read_text() == before
    assert Record(path).points.keys() == {"a"}


def test_figures_that_json_cannot_hold_are_refused_and_change_nothing(path):
    before = path.read_text()
    record = Record(path)
    record.begin({})
    with pytest.raises(ValueError, match="JSON"):
        record.add("b", {"seconds": float("nan")})
    assert path.read_text() == before and not unfinished(path).exists()


@pytest.mark.parametrize("name", ["date", "commit"])
def test_another_day_or_commit_of_the_same_code_goes_on(path, here, name):
    here[name] = "other"
    assert Record(path).points.keys() == {"a"}


@pytest.mark.parametrize("name", records.SAME)
def test_other_code_or_another_machine_begins_anew(path, here, name, capsys):
    here[name] = "other"
    record = Record(path)
    assert record.points == {} and record.runs == []
    assert "measured again" in capsys.readouterr().out
    record.begin({})
    record.add("a", {"seconds": 9.0})
    assert Record(path).points == {"a": {"seconds": 9.0, "run": 0}}
    assert json.loads(path.read_text())["points"]["a"]["seconds"] == 1.5


def test_fresh_forgets_what_is_there(path):
    assert Record(path, fresh=True).points == {}


def test_the_code_has_another_hash_when_a_file_changes(tmp_path):
    for name in ("tripod_lite/legs/hessian.py", "benchmarks/training.py", "book/notes.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    before = records.code(tmp_path)
    (tmp_path / "book/notes.py").write_text("2")
    assert records.code(tmp_path) == before
    (tmp_path / "tripod_lite/legs/hessian.py").write_text("2")
    assert records.code(tmp_path) != before


def test_columns_of_a_table_are_aligned():
    columns = {"size": lambda row: row["size"], "ms": lambda row: f"{row['ms']:.1f}"}
    lines = table(columns, [{"size": "tiny", "ms": 1234.5}, {"size": "paper", "ms": 2}]).splitlines()
    assert lines == [" size      ms", " tiny  1234.5", "paper     2.0"]
