"""The built book is kept while its inputs stay the same, and dropped when one of them changes."""

import book_cache
import pytest

INPUTS = ["tripod_lite/legs/hessian.py", "data/published.csv", "pyproject.toml", "requirements.lock", "_config.yml"]


@pytest.fixture
def repository(tmp_path):
    for name in [*INPUTS, "README.md"]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def build(repository):
    """Pretend to build; return the folder and a file of it."""
    folder = repository / "book/_build"
    book_cache.refresh(folder, repository)
    page = folder / "html/index.html"
    page.parent.mkdir()
    page.write_text("built")
    return folder, page


def test_unchanged_inputs_keep_the_build(repository):
    folder, page = build(repository)
    (repository / "README.md").write_text("not an input")
    (repository / "tripod_lite/__pycache__").mkdir()
    (repository / "tripod_lite/__pycache__/hessian.pyc").write_text("not an input either")
    assert book_cache.refresh(folder, repository)
    assert page.exists()


@pytest.mark.parametrize("name", INPUTS)
def test_a_changed_input_drops_the_build(repository, name):
    folder, page = build(repository)
    (repository / name).write_text("changed")
    assert not book_cache.refresh(folder, repository)
    assert not page.exists()
    assert book_cache.refresh(folder, repository)


def test_a_clone_may_lie_below_a_folder_of_any_name(repository):
    clone = repository / "checkpoints"
    (clone / "tripod_lite").mkdir(parents=True)
    (clone / "tripod_lite/new.py").write_text("1")
    before = book_cache.key(clone)
    (clone / "tripod_lite/new.py").write_text("2")
    assert book_cache.key(clone) != before


def test_a_renamed_or_new_module_drops_the_build(repository):
    folder, _ = build(repository)
    (repository / "tripod_lite/legs/hessian.py").rename(repository / "tripod_lite/legs/curvature.py")
    assert not book_cache.refresh(folder, repository)
    (repository / "tripod_lite/new.py").touch()
    assert not book_cache.refresh(folder, repository)
