"""What is kept on disk: finished models, and checkpoints of runs under way.

Each change of either is one renaming, so that a kill leaves the old or the new and nothing between, and a checksum of
all values tells a damaged file from a good one.
"""

import contextlib
import dataclasses
import json
import math
import os
import re
import secrets
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tripod_lite.autoencoder import Tripod, TripodConfig, noted_fields
from tripod_lite.checks import check_count
from tripod_lite.storage import read_arrays, remove, seal, short, write_arrays, write_text

Histories = list[dict[str, list]]


def save(model: Tripod, path: str | Path) -> None:
    """Write a model, its parameters and configuration, into the directory `path`, replacing a model that is there.

    The new parameters are written beside the old, then config.json, which names the parameters that count, is
    replaced: a kill or an error leaves the old model. Where there are several processes the first one writes.

    Args:
        model: what to save.
        path: a directory that is new, empty or a saved model.

    Raises:
        TypeError: model is not a Tripod.
        ValueError: path exists and is not a saved model.
        OSError: it could not be written, for example because the disk is full.
    """
    if not isinstance(model, Tripod):
        raise TypeError(f"model must be a Tripod, got {type(model).__name__}")
    path = Path(path).absolute()
    if path.exists() and not _may_hold_a_model(path):
        raise ValueError(f"path must be new, empty or a saved model, but {path} is something else")
    if jax.process_index():
        return
    parameters = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    name = f"parameters-{secrets.token_hex(4)}"
    note = seal(parameters, {"config": _config_json(model.config), "parameters": name})
    try:
        path.mkdir(parents=True, exist_ok=True)
        try:
            write_arrays(path / name, parameters)
            write_text(path / "config.json", json.dumps(note, indent=2) + "\n")
        finally:
            _remove_parameters(path, written=name)
    except (OSError, ValueError) as error:  # Orbax has ValueError for a full disk
        raise OSError(f"the model could not be written to {path}: {short(error)}") from error


def load(path: str | Path) -> Tripod:
    """Read a model that `save` wrote.

    Raises:
        ValueError: path holds no saved model, or one that is damaged.
    """
    path = Path(path).absolute()
    if not (path / "config.json").is_file():
        raise ValueError(f"path must be a directory that tripod_lite.save wrote, but {path} has no config.json")
    try:
        note = json.loads((path / "config.json").read_text())
        sealed = note if "parameters" in note else None  # until version 0.1.0 it was the configuration alone
        config = _config_from_json(sealed["config"] if sealed else note)
        model = nnx.eval_shape(lambda: Tripod(config, rngs=nnx.Rngs(0)))
        graph, state = nnx.split(model)
        parameters = read_arrays(
            path / (sealed["parameters"] if sealed else "parameters"), nnx.to_pure_dict(state), sealed
        )
    except MemoryError:
        raise
    except Exception as error:  # whatever a damaged file makes Orbax raise
        raise ValueError(f"the model in {path} cannot be read: {short(error)}") from error
    nnx.replace_by_pure_dict(state, jax.tree.map(jnp.asarray, parameters))
    return nnx.merge(graph, state)


class Checkpoints:
    """The checkpoints of one run: state, histories and time spent, with the run's identity beside them.

    The folder has run.json, the identity; a folder N for the checkpoint after N steps, with notes.json and state, which
    is Orbax's; newest, the number of the newest; and while something is written, saving. One renaming makes or removes
    a checkpoint. One that turns out to be damaged is renamed to N.bad.

    Where there are several processes the first one writes, and all must see the same folder.

    Args:
        directory: where they are; made where it does not exist.
        config, data, seed, steps: the run's identity; `data` is `Dataset.identity()`, `seed` a list where several are
            trained at once.
        keep: how many of the newest checkpoints are kept, beside the one of the best score.

    Raises:
        ValueError: the directory holds checkpoints of a run of another identity, or other files.
        OSError: it cannot be made or written.
    """

    def __init__(
        self,
        directory: str | Path,
        config: TripodConfig,
        *,
        data: dict[str, Any],
        seed: int | list[int],
        steps: int,
        keep: int = 2,
    ):
        self.directory = Path(directory).absolute()
        self._keep = check_count("keep", keep, 1)
        self._writes = jax.process_index() == 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._writing: tuple[int, Future] | None = None
        self._identity = {"config": _config_json(config), "data": data, "seed": seed, "steps": steps}
        if (self.directory / "run.json").is_file():
            _refuse_another(self.directory / "run.json", self._identity)
        # A kill between making the folder and writing run.json leaves run.json.tmp at most.
        elif self._writes and any(other.name != "run.json.tmp" for other in self.directory.glob("*")):
            raise ValueError(
                "checkpoint_dir must be empty or hold a run of fit with its run.json, "
                f"but {self.directory} holds other files"
            )
        self._move_in()

    def _move_in(self) -> None:
        """Make the folder and run.json where they are not, and remove what a killed writer left."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if not self._writes:
            return
        if not (self.directory / "run.json").is_file():
            write_text(self.directory / "run.json", json.dumps(self._identity, indent=2) + "\n")
        remove(self.directory / "saving")

    def steps(self) -> list[int]:
        """The steps of the checkpoints that are there, in ascending order; one being written is not yet among them."""
        return sorted(int(path.name) for path in self.directory.iterdir() if path.name.isdecimal() and path.is_dir())

    def best(self) -> int | None:
        """The step of the checkpoint with the highest score, the newest of equals; None where none has a score."""
        scores = {step: score for step in self.steps() if (score := self._score(step)) is not None}
        return max(scores, key=lambda step: (scores[step], step), default=None)

    def newest(self) -> int | None:
        """The step of the newest checkpoint, after waiting for one that is being written; None where there is none."""
        self._settle()
        return max(self.steps(), default=None)

    def restore(self, like: Any, step: int | None = None) -> tuple[int, Any, Histories, float] | None:
        """Read the newest good checkpoint.

        Damaged ones that are newer are warned of and renamed to N.bad; a newest one that is missing is warned of.

        Args:
            like: a state of the same structure, shapes and, for JAX's arrays, sharding.
            step: of the checkpoint to read, instead of the newest good one.

        Returns:
            (steps done, state, histories, seconds), or None where there is no checkpoint.

        Raises:
            ValueError: none can be read, or not the one of that step.
        """
        self._settle()
        steps = self.steps()[::-1] if step is None else [step]
        problems: dict[int, str] = {}
        for candidate in steps:
            try:
                arrays, notes = self._read(candidate, like)
                break
            except MemoryError:
                raise
            except Exception as error:  # whatever a damaged file makes Orbax raise
                problems[candidate] = short(error)
        said = "; ".join(f"step {bad}: {problem}" for bad, problem in problems.items())
        if steps and len(problems) == len(steps):
            advice = "; remove the folder to start anew" if step is None else ""
            raise ValueError(f"no checkpoint in {self.directory} can be read ({said}){advice}")
        if jax.process_count() > 1:
            from jax.experimental.multihost_utils import assert_equal

            assert_equal(candidate if steps else 0, f"the processes see different checkpoints in {self.directory}")
        if step is None:
            self._put_aside(list(problems), said, going_on_from=candidate if steps else 0)
        if not steps:
            return None
        return candidate, _placed(arrays, like), notes["histories"], notes["seconds"]

    def save(self, step: int, state: Any, histories: Histories, seconds: float, score: float | None = None) -> None:
        """Save the state after `step` steps. It is copied at once and may be donated; writing goes on in background.

        A checkpoint that cannot be written (a full disk), or whose state is not finite, is warned of at the next call
        of a method; those that are there stay as they are.

        Args:
            step: how many steps are done.
            state: a pytree of arrays.
            histories: of each seed.
            seconds: spent so far.
            score: of the state, larger is better; the checkpoint with the best one is kept.
        """
        self._settle()
        if not self._writes or (self.directory / str(step)).is_dir():
            return
        arrays = [np.array(leaf) for leaf in jax.tree.leaves(state)]
        notes = {
            "histories": [{k: np.asarray(v).tolist() for k, v in history.items()} for history in histories],
            "seconds": seconds,
            "score": float(score) if score is not None and math.isfinite(score) else None,
        }
        self._writing = step, self._thread.submit(self._write, step, arrays, notes)

    def close(self) -> None:
        """Wait for what is being written."""
        self._settle()
        self._thread.shutdown()

    def _settle(self) -> None:
        """Wait for what is being written; warn where it failed."""
        if self._writing is None:
            return
        step, future = self._writing
        error = future.exception()
        self._writing = None
        if error is not None:
            good = self.steps() if self.directory.is_dir() else []
            newest = f"the newest good one is of step {good[-1]}" if good else "there is none yet"
            warnings.warn(
                f"the checkpoint of step {step} could not be written to {self.directory} ({short(error)}); {newest}",
                stacklevel=3,
            )

    def _write(self, step: int, arrays: list[np.ndarray], notes: dict[str, Any]) -> None:
        if not all(np.isfinite(each).all() for each in arrays if jnp.issubdtype(each.dtype, jnp.inexact)):
            raise FloatingPointError("the state has NaN or infinite values")
        self._move_in()  # anew, for who tidies up folders while a run is under way
        saving = self.directory / "saving"
        try:
            write_arrays(saving / str(step) / "state", arrays)
            write_text(saving / str(step) / "notes.json", json.dumps(seal(arrays, notes)))
            os.rename(saving / str(step), self.directory / str(step))
            self._note_newest(step)
            for old in set(self.steps()[: -self._keep]) - {self.best()}:
                os.rename(self.directory / str(old), saving / str(old))  # so that half of one is never found
        finally:
            remove(saving)

    def _read(self, step: int, like: Any) -> tuple[list[np.ndarray], dict[str, Any]]:
        notes = self._notes(step)
        folder = self.directory / str(step) / "state"
        return read_arrays(folder, jax.tree.leaves(like), notes), notes

    def _notes(self, step: int) -> dict[str, Any]:
        return json.loads((self.directory / str(step) / "notes.json").read_text())

    def _score(self, step: int) -> float | None:
        try:
            return self._notes(step).get("score")
        except (OSError, ValueError):
            return None  # a damaged one is not the best

    def _put_aside(self, bad: list[int], said: str, *, going_on_from: int) -> None:
        """Rename what is damaged, and say so; say also if the newest checkpoint is gone."""
        with contextlib.suppress(OSError, ValueError):
            newest = int((self.directory / "newest").read_text())
            if newest > max([going_on_from, *bad]):
                said = "; ".join(filter(None, [f"step {newest}: missing", said]))
        if not said:
            return
        kept = f"; damaged ones are kept as {', '.join(f'{step}.bad' for step in bad)}" if bad else ""
        warnings.warn(
            f"checkpoints in {self.directory} cannot be used ({said}); going on from step {going_on_from}{kept}",
            stacklevel=3,
        )
        if self._writes:
            for step in bad:
                remove(self.directory / f"{step}.bad")
                os.rename(self.directory / str(step), self.directory / f"{step}.bad")
            self._note_newest(going_on_from)

    def _note_newest(self, step: int) -> None:
        """Note the number of the newest checkpoint, so that it would be missed."""
        with contextlib.suppress(OSError):  # a full disk
            write_text(self.directory / "newest", f"{step}\n")


def _config_json(config: TripodConfig) -> dict[str, Any]:
    """The configuration as JSON can hold it (tuples as lists)."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def _config_from_json(fields: dict[str, Any]) -> TripodConfig:
    plain = noted_fields(fields).items()
    return TripodConfig(**{name: tuple(value) if isinstance(value, list) else value for name, value in plain})


def _is_parameters(name: str) -> bool:
    """Whether this is a name that `save` gives to parameters, or Orbax to such while it writes them."""
    return re.match(r"parameters(-[0-9a-f]{8})?($|\.orbax)", name) is not None


def _may_hold_a_model(path: Path) -> bool:
    """Whether the folder is empty or holds a model, were it half of one that a killed `save` left."""
    names = [each.name for each in path.iterdir()] if path.is_dir() else ["no folder"]
    rest = [name for name in names if not _is_parameters(name)]
    return ("config.json" in rest and len(rest) < len(names)) or not set(rest) - {"config.json.tmp"}


def _remove_parameters(path: Path, *, written: str) -> None:
    """Remove the old parameters if config.json names those just written, else what there is of the latter."""
    counts = None
    with contextlib.suppress(OSError, ValueError, AttributeError):
        counts = json.loads((path / "config.json").read_text()).get("parameters", "parameters")
    for each in path.iterdir():
        if _is_parameters(each.name) and each.name != counts and (counts == written or each.name.startswith(written)):
            remove(each)


def _refuse_another(note: Path, wanted: dict[str, Any]) -> None:
    """Raise where the run that `note` describes is not the wanted one. A field it lacks has its default."""
    try:
        found = json.loads(note.read_text())
        found = found | noted_fields(found["config"]) | found["data"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{note} cannot be read ({short(error)}), so whose checkpoints these are is unknown; "
            "remove the folder to start anew"
        ) from error
    wanted = wanted | wanted["config"] | wanted["data"]
    differences = [
        f"{name}: {found.get(name)!r} there, {wanted.get(name)!r} asked for"
        for name in sorted((found | wanted).keys() - {"config", "data"})
        if found.get(name) != wanted.get(name)
    ]
    if differences:
        raise ValueError(f"checkpoint_dir {note.parent} belongs to another run ({'; '.join(differences)})")


def _placed(arrays: list[np.ndarray], like: Any) -> Any:
    """The arrays in the structure of `like`, on the devices where its arrays are."""
    leaves, structure = jax.tree.flatten(like)
    return structure.unflatten(
        jax.make_array_from_callback(leaf.shape, leaf.sharding, array.__getitem__)
        if isinstance(leaf, jax.Array)
        else array
        for array, leaf in zip(arrays, leaves, strict=True)
    )
