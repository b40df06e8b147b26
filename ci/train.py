"""Run the training notebook with parameters: `python ci/train.py NAME=VALUE ...`; `--list` shows which there are.

The results go to the folder `out`, by default data/results, and so does the executed notebook, under the name of the
notebook and the values that differ from its defaults. Ctrl-C stops the training with a checkpoint; the same command
then goes on from there.
"""

import argparse
import ast
import dataclasses
import math
import os
import re
import shlex
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import ClassVar

import papermill
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "book/training/train.ipynb"
RESULTS = ROOT / "data/results"

Value = bool | int | float | str


def as_bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError
    return text.lower() == "true"


def as_float(text: str) -> float:
    if not math.isfinite(float(text)):
        raise ValueError
    return float(text)


KINDS = {
    "bool": (as_bool, "true or false"),
    "int": (int, "an integer"),
    "float": (as_float, "a finite number"),
    "str": (str, "text"),
}


@dataclass(frozen=True)
class Parameter:
    """One line of a notebook's parameters cell: `name: kind = default  # help`."""

    name: str
    kind: str
    default: Value
    help: str

    def parse(self, text: str) -> Value:
        """Return the value that `text` stands for; raise ValueError where it is not of this kind."""
        convert, wanted = KINDS[self.kind]
        try:
            return convert(text)
        except ValueError:
            raise ValueError(f"{self.name} must be {wanted} ({self.kind}), got {text!r}") from None


def read_parameters(notebook: Path) -> dict[str, Parameter]:
    """List the parameters of `notebook` by name; raise ValueError where one cannot be set from the command line."""
    found = {}
    for name, fields in papermill.inspect_notebook(str(notebook)).items():
        kind = fields["inferred_type_name"]
        try:
            default = ast.literal_eval(fields["default"])
        except (SyntaxError, ValueError):
            default = None  # an expression: of none of the kinds
        if kind not in KINDS or type(default).__name__ != kind:
            raise ValueError(
                f"parameter {name} must be annotated as one of {', '.join(KINDS)} and have a default that is one, "
                f"got {kind} and {fields['default']}"
            )
        found[name] = Parameter(name, kind, default, fields["help"])
    if "out" not in found:
        raise ValueError(f"there must be a parameter out, the folder of results; got {', '.join(found) or 'none'}")
    return found


def parse(arguments: list[str], known: dict[str, Parameter]) -> dict[str, Value]:
    """Return the values given as NAME=VALUE; raise one ValueError for all that is wrong with them."""
    values, wrong = {}, []
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not equals:
            wrong.append(f"{argument!r} must be of the form NAME=VALUE")
        elif name not in known:
            wrong.append(f"unknown parameter {name!r}; known are {', '.join(known)}")
        elif name in values:
            wrong.append(f"{name} must be given once, got {argument!r} as well")
        else:
            try:
                values[name] = known[name].parse(text)
            except ValueError as error:
                wrong.append(str(error))
    if wrong:
        raise ValueError("\n".join(wrong))
    return values


def executed_name(notebook: Path, values: dict[str, Value], known: dict[str, Parameter]) -> str:
    """Name the executed notebook after the values that differ from the defaults: train-steps=30-seed=1.ipynb."""
    changed = [f"-{n}={values[n]}" for n in known if n in values and n != "out" and values[n] != known[n].default]
    return re.sub(r"[^\w=.+-]", "_", notebook.stem + "".join(changed)) + ".ipynb"


class RunningPython(AsyncKernelManager):
    """A kernel on the Python that runs this script, whichever kernels are registered on the machine."""

    latest: ClassVar["RunningPython | None"] = None
    keep_open: ClassVar[tuple[int, ...]] = ()
    stopped: ClassVar[bool] = False  # whether a signal asked the latest notebook to end, also one that came too late

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        RunningPython.latest = self

    def _kernel_spec_manager_default(self) -> KernelSpecManager:
        return KernelSpecManager(kernel_dirs=[])  # then it has only the one of the running Python

    async def start_kernel(self, **settings: object) -> None:
        """Start the kernel, which inherits the descriptors `keep_open`."""
        await super().start_kernel(pass_fds=RunningPython.keep_open, **settings)

    def interrupt(self) -> bool:
        """Interrupt what the kernel does; return False where it does not run yet."""
        if self.provisioner is None or self.provisioner.pid is None:
            return False
        os.kill(self.provisioner.pid, signal.SIGINT)
        return True


def execute(notebook: Path, target: Path, values: dict[str, Value], *, keep_open: tuple[int, ...] = ()) -> int:
    """Run `notebook` with `values`, keep it as `target` as far as it came, and return the exit status.

    The kernel inherits the file descriptors `keep_open`: a lock on one of them is held until it, too, has ended.
    """
    RunningPython.latest, RunningPython.keep_open, RunningPython.stopped = None, keep_open, False

    def stop(number: int, frame: FrameType | None) -> None:
        """Pass the first signal on: the training saves and the notebook ends. The second one is ours."""
        for known, handler in before.items():
            signal.signal(known, handler)
        RunningPython.stopped = True
        if RunningPython.latest is None or not RunningPython.latest.interrupt():
            raise KeyboardInterrupt
        print("\nStopping; once more to stop at once, without a checkpoint.", file=sys.stderr, flush=True)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        papermill.execute_notebook(
            str(notebook),
            str(target),
            values,
            kernel_name="python3",
            kernel_manager_class=RunningPython,
            # Or every kernel warns of TCP, on loopback too, and now and then of the interrupt that ends it.
            extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
            progress_bar=False,
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
        )
    except PapermillExecutionError as error:
        print(f"\n{notebook.name}, cell [{error.exec_count}]: {error.ename}: {error.evalue}", file=sys.stderr)
    except DeadKernelError:
        print(f"\nThe kernel of {notebook.name} died; too little memory is the usual cause.", file=sys.stderr)
    except KeyboardInterrupt:
        RunningPython.stopped = True
    except RuntimeError:
        if not RunningPython.stopped:  # a kernel that is interrupted while it starts dies
            raise
    else:
        return 0
    finally:
        for known, handler in before.items():
            signal.signal(known, handler)
    return 130 if RunningPython.stopped else 1


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(description="Train a model by running a notebook with parameters.")
    parser.add_argument("values", nargs="*", metavar="NAME=VALUE", help="parameters of the notebook")
    parser.add_argument("--notebook", type=Path, default=NOTEBOOK, help="default: book/training/train.ipynb")
    parser.add_argument("--list", action="store_true", help="show the parameters and their defaults")
    args = parser.parse_intermixed_args(arguments)
    if not args.notebook.is_file():
        parser.error(f"--notebook: no such file: {args.notebook}")
    try:
        known = read_parameters(args.notebook)
        known["out"] = dataclasses.replace(known["out"], default=os.path.relpath(RESULTS))
        values = {"out": known["out"].default} | parse(args.values, known)
        out = Path(values["out"]).expanduser().absolute()
        if not args.list:
            out.mkdir(parents=True, exist_ok=True)
    except ValueError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"out must be a folder that can be made, got {values['out']!r}: {error}")
    if args.list:
        for p in known.values():
            print(f"{p.name + '=' + str(p.default):<24} {p.kind:<5}  {p.help}")
        return 0
    target = out / executed_name(args.notebook, values, known)
    status = execute(args.notebook, target, values | {"out": str(out)})
    if status == 0:
        print(f"Executed notebook: {target}")
    else:
        print(f"The notebook as far as it came: {target}", file=sys.stderr)
    if status == 130:
        print(f"To go on: {shlex.join([sys.executable, *sys.argv[:1], *arguments])}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
