"""Kill training at random moments and compare what it ends with: `python -m benchmarks.kills --kills 100`.

A small run is killed (SIGKILL) after a time drawn uniformly from 0 to what the whole run takes, started again in the
same folder, killed again, until it once gets to its end before its time. Its parameters and history must then be those
of a run that nobody disturbed, bit by bit. Runs follow each other until the number of kills is reached; the last one
is let through. The moments cover the start of Python, compilation, steps, and the writing of checkpoints.

Writes data/benchmarks/kills-BACKEND.json after each run: counts, and of each kill its moment and what it hit. Ends with
an error if any run differed, failed or found a damaged checkpoint.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tripod_lite.training import Run

ROOT = Path(__file__).parents[1]
LIMIT = 900  # seconds that a start may take before it counts as hung


def train(checkpoints: Path | None, *, steps: int, every: int, plain: bool) -> "Run":
    """The run that is killed: small networks, images of noise, all legs on or, if `plain`, no penalties."""
    import tripod_lite as tl

    images = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), dtype=np.uint8)
    config = tl.TripodConfig(n_z=3, image_size=16, size="tiny", batch_size=8, nhp_samples=2, learning_rate=1e-2)
    return tl.fit(
        tl.from_images(images),
        config.replace(lambda_klm=0, lambda_nhp=0) if plain else config,
        steps=steps,
        checkpoint_dir=checkpoints,
        checkpoint_every=every,
        log_every=3 * every // 2,  # so that sums are open at every other checkpoint
        progress=False,
    )


def values(run: "Run") -> dict[str, np.ndarray]:
    """Parameters and history by name."""
    import jax
    from flax import nnx

    leaves = jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(nnx.state(run.model, nnx.Param)))
    named = {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}
    return named | {f"history {name}": entries for name, entries in run.history.items()}


def differences(folder: Path, reference: Path) -> list[str]:
    """The names of the arrays that differ between the ends of two runs."""
    with np.load(folder / "end.npz") as ours, np.load(reference / "end.npz") as theirs:
        return sorted(
            name
            for name in {*ours.files, *theirs.files}
            if name not in ours or name not in theirs or ours[name].tobytes() != theirs[name].tobytes()
        )


class Kills:
    """One benchmark: its setting, what it killed, and how the runs ended."""

    def __init__(self, work: Path, *, kills: int, steps: int, every: int, seed: int, plain: bool = False):
        self.work, self.wanted, self.steps, self.every, self.plain = work, kills, steps, every, plain
        self.rng = np.random.default_rng(seed)
        self.kills: list[dict[str, Any]] = []
        self.runs: list[dict[str, Any]] = []
        # Compiled once, by the run that nobody disturbs: the kills should hit more than compilation.
        self.environment = (
            {"JAX_COMPILATION_CACHE_DIR": str(work / "compiled")}
            | os.environ
            | {
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
                "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            }
        )

    def start(self, folder: Path) -> subprocess.Popen:
        """Start or go on with the run in a folder. What it says goes into folder/said."""
        folder.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "benchmarks.kills", "--train", str(folder)]
        command += ["--steps", str(self.steps), "--every", str(self.every)] + ["--plain"] * self.plain
        with (folder / "said").open("ab") as said:
            return subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=said, stderr=said)

    def reference(self) -> tuple[Path, float]:
        """Two runs that nobody disturbs: the folder of the first, the seconds of the second, which need not compile."""
        for name in ("first", "second"):
            clock = time.perf_counter()
            if self.start(self.work / name).wait(LIMIT):
                raise SystemExit(f"training failed:\n{(self.work / name / 'said').read_text()}")
            seconds = time.perf_counter() - clock
        if differences(self.work / "first", self.work / "second"):
            raise SystemExit("two undisturbed runs differ: there is nothing to compare with")
        return self.work / "first", seconds

    def disturbed_run(self, reference: Path, seconds: float) -> float:
        """A run that is killed, at moments up to `seconds`, until it comes to its end; returns those of the next."""
        folder = self.work / f"run{len(self.runs)}"
        killed, problem = 0, None
        clock = time.perf_counter()
        while True:
            before, left = _newest(folder), _writing(folder)
            process = self.start(folder)
            spare = len(self.kills) >= self.wanted
            moment = LIMIT if spare else float(self.rng.uniform(0, seconds))
            try:
                code = process.wait(moment)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                if spare:
                    problem = f"no end after {LIMIT} s"
                    break
                saved = _newest(folder)
                hit = "before a new checkpoint" if saved == before else "between checkpoints"
                if _writing(folder) not in (None, left):
                    hit = "while one was written"
                self.kills.append({"run": len(self.runs), "after": round(moment, 2), "saved": saved, "hit": hit})
                killed += 1
                if saved == before:
                    seconds *= 1.05  # a machine that has become busy must come to training all the same
                continue
            except BaseException:  # Ctrl-C
                process.kill()
                raise
            if code:
                problem = f"exit code {code}"
            break
        said = (folder / "said").read_text()
        if problem is None and (names := differences(folder, reference)):
            problem = f"differs in {', '.join(names)}"
        if problem is None and ("Warning" in said or list((folder / "checkpoints").glob("*.bad"))):
            problem = "warned"
        self.runs.append({"kills": killed, "outcome": problem or "identical"})
        if problem:
            print(f"run {len(self.runs) - 1}: {problem}\n{said}", flush=True)
        return seconds if killed else time.perf_counter() - clock

    def record(self, seconds: float) -> dict[str, Any]:
        """What is written."""
        from tripod_lite.results import environment

        return {
            "environment": environment(),
            "setting": {
                "steps": self.steps,
                "checkpoint_every": self.every,
                "plain": self.plain,
                "seconds_undisturbed": round(seconds, 2),
            },
            "kills": len(self.kills),
            "runs": len(self.runs),
            "identical": sum(run["outcome"] == "identical" for run in self.runs),
            "hit": dict(Counter(kill["hit"] for kill in self.kills)),
            "outcomes": self.runs,
            "moments": self.kills,
        }


def _writing(folder: Path) -> int | None:
    """Tells the folder in which a checkpoint is being written from one that an earlier kill left."""
    saving = folder / "checkpoints" / "saving"
    return saving.stat().st_ino if saving.exists() else None


def _newest(folder: Path) -> int:
    """The step of the newest checkpoint, or 0."""
    return max((int(path.name) for path in (folder / "checkpoints").glob("*") if path.name.isdecimal()), default=0)


def _text(record: dict[str, Any]) -> str:
    """JSON with a line for each kill and each run."""
    lines = []
    for name, value in record.items():
        each = isinstance(value, list)
        text = "[\n" + ",\n".join(f"  {json.dumps(entry)}" for entry in value) + "\n ]" if each else json.dumps(value)
        lines.append(f" {json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main(arguments: list[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="how many in all")
    parser.add_argument("--steps", type=int, default=800, help="optimization steps of a run")
    parser.add_argument("--every", type=int, default=5, help="steps between checkpoints")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--plain", action="store_true", help="train without penalties, which compiles sooner")
    parser.add_argument("--out", type=Path, help="the JSON file; by default data/benchmarks/kills-BACKEND.json")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.train:
        run = train(args.train / "checkpoints", steps=args.steps, every=args.every, plain=args.plain)
        np.savez(args.train / "part.npz", **values(run))
        os.replace(args.train / "part.npz", args.train / "end.npz")
        return
    from tripod_lite.storage import write_text

    with tempfile.TemporaryDirectory(prefix="kills-") as work:
        setting = {"steps": args.steps, "every": args.every, "plain": args.plain}
        bench = Kills(Path(work), kills=args.kills, seed=args.seed, **setting)
        reference, seconds = bench.reference()
        record = bench.record(seconds)
        now = seconds  # what a run takes at present: the machine may have other work at times
        out = args.out or ROOT / "data" / "benchmarks" / f"kills-{record['environment']['backend']}.json"
        while len(bench.kills) < args.kills or not bench.runs:
            now = bench.disturbed_run(reference, now)
            record = bench.record(seconds)
            write_text(out, _text(record))
            print(f"{record['kills']} kills, {record['identical']} of {record['runs']} runs identical", flush=True)
    print(json.dumps(record["hit"]))
    if record["identical"] < record["runs"]:
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
