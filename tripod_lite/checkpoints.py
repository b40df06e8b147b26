"""What is kept on disk: finished models, and checkpoints of runs under way. Both are Orbax directories."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
from flax import nnx

from tripod_lite.autoencoder import Tripod, TripodConfig


def _config_json(config: TripodConfig) -> dict[str, Any]:
    """The configuration as JSON can hold it (tuples as lists)."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def _config_from_json(fields: dict[str, Any]) -> TripodConfig:
    return TripodConfig(**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})


def save(model: Tripod, path: str | Path) -> None:
    """Write a model, its parameters and configuration, into the directory `path`, replacing a model that is there.

    Raises:
        TypeError: model is not a Tripod.
        ValueError: path exists and is not a saved model.
    """
    import orbax.checkpoint as ocp

    if not isinstance(model, Tripod):
        raise TypeError(f"model must be a Tripod, got {type(model).__name__}")
    path = Path(path).absolute()
    if path.exists() and not ((path / "config.json").is_file() and (path / "parameters").is_dir()):
        if not path.is_dir() or any(path.iterdir()):
            raise ValueError(f"path must be new, empty or a saved model, but {path} is something else")
    config = json.dumps(_config_json(model.config), indent=2) + "\n"
    path.mkdir(parents=True, exist_ok=True)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path / "parameters", nnx.state(model, nnx.Param).to_pure_dict(), force=True)
    (path / "config.json").write_text(config)


def load(path: str | Path) -> Tripod:
    """Read a model that `save` wrote.

    Raises:
        ValueError: path holds no saved model.
    """
    import orbax.checkpoint as ocp

    path = Path(path).absolute()
    if not (path / "config.json").is_file():
        raise ValueError(f"path must be a directory that tripod_lite.save wrote, but {path} has no config.json")
    config = _config_from_json(json.loads((path / "config.json").read_text()))
    model = nnx.eval_shape(lambda: Tripod(config, rngs=nnx.Rngs(0)))
    graph, state = nnx.split(model)
    with ocp.StandardCheckpointer() as checkpointer:
        nnx.replace_by_pure_dict(state, checkpointer.restore(path / "parameters", state.to_pure_dict()))
    return nnx.merge(graph, state)


class Checkpoints:
    """The checkpoints of one run: state, history and time spent, with the run's identity beside them.

    Args:
        directory: where they are; made where it does not exist.
        config, data, seed, steps: the run's identity; `data` is `Dataset.identity()`.

    Raises:
        ValueError: the directory holds checkpoints of a run of another identity.
    """

    def __init__(self, directory: str | Path, config: TripodConfig, *, data: dict[str, Any], seed: int, steps: int):
        import orbax.checkpoint as ocp

        self.directory = Path(directory).absolute()
        self.directory.mkdir(parents=True, exist_ok=True)
        identity = {"config": _config_json(config), "data": data, "seed": seed, "steps": steps}
        note = self.directory / "run.json"
        if note.is_file():
            self._check(json.loads(note.read_text()), identity)
        elif any(self.directory.iterdir()):
            raise ValueError(
                f"checkpoint_dir must be empty or hold a run of fit, but {self.directory} holds other files"
            )
        note.write_text(json.dumps(identity, indent=2) + "\n")
        self.manager = ocp.CheckpointManager(
            self.directory,
            item_names=("state", "history"),
            options=ocp.CheckpointManagerOptions(max_to_keep=2),
        )

    def _check(self, found: dict[str, Any], wanted: dict[str, Any]) -> None:
        found, wanted = ({**run, **run["config"], **run["data"]} for run in (found, wanted))
        differences = [
            f"{name}: {found.get(name)!r} there, {wanted.get(name)!r} asked for"
            for name in sorted((found | wanted).keys() - {"config", "data"})
            if found.get(name) != wanted.get(name)
        ]
        if differences:
            raise ValueError(f"checkpoint_dir {self.directory} belongs to another run ({'; '.join(differences)})")

    def newest(self) -> int | None:
        """The step of the newest checkpoint, or None where there is none."""
        return self.manager.latest_step()

    def restore(self, like: Any) -> tuple[int, Any, list[dict[str, list]], float] | None:
        """(steps done, state, histories, seconds) of the newest checkpoint, or None where there is none.

        Args:
            like: a state of the same structure and shapes.
        """
        import orbax.checkpoint as ocp

        step = self.manager.latest_step()
        if step is None:
            return None
        leaves, structure = jax.tree.flatten(like)
        found = self.manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore(leaves), history=ocp.args.JsonRestore())
        )
        notes = found.history
        return step, structure.unflatten(found.state), notes["histories"], notes["seconds"]

    def save(self, step: int, state: Any, histories: list[dict[str, list]], seconds: float) -> None:
        """Save the state after `step` steps. Writing goes on in the background.

        Args:
            step: how many steps are done.
            state: a pytree of arrays.
            histories: of each seed.
            seconds: spent so far.
        """
        import orbax.checkpoint as ocp

        if step in self.manager.all_steps():
            return
        self.manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(jax.tree.leaves(state)),
                history=ocp.args.JsonSave({"histories": histories, "seconds": seconds}),
            ),
        )

    def close(self) -> None:
        """Wait for what is being written."""
        self.manager.close()
