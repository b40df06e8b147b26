"""Do the training runs of a matrix that are missing: `python ci/matrix.py PROFILE`; `--list` shows which there are.

The matrix, ci/matrix.yml, says what is trained and what a profile spends on it. Each run is the training notebook with
parameters. Its scores, pictures and executed notebook go to the profile's folder. A run whose scores are there, with
the same configuration, is not done again; one that was stopped or killed goes on from its last checkpoint; one that
fails is reported at the end with its cell and traceback, and stops no other. What is guaranteed where several
processes or machines work at the same runs is in attempts.py.

The exit status is 0 where all runs are done, 1 where one failed, 2 for a wrong matrix or command, 130 after Ctrl-C.
"""

import argparse
import contextlib
import dataclasses
import shlex
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import engines
import train
import yaml
from attempts import NEEDED, SHOWN, Job, Outcome, scores_of

MATRIX = Path(__file__).with_name("matrix.yml")
ELSEWHERE = {"seed": "seeds of the profile", "out": "out of the profile"}


class StrictLoader(yaml.SafeLoader):
    """YAML of which every key of a mapping is there once; plain YAML takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """Return the mapping; raise ValueError where a key is there again."""
        names = [self.construct_object(key) for key, _ in node.value]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name!r} is there more than once, in the mapping of line {node.start_mark.line + 1}")
        return super().construct_mapping(node, deep)


@dataclass(frozen=True)
class Profile:
    """What is spent on each run, and where: a profile of the matrix file."""

    out: Path
    seeds: list[int]
    cpus: int = 1
    gpus: int = 0
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Matrix:
    """A matrix file: a notebook, its parameters, profiles and runs."""

    notebook: Path
    known: dict[str, train.Parameter]
    profiles: dict[str, Profile]
    runs: dict[str, dict[str, Any]]


def read(path: Path) -> Matrix:
    """Read a matrix file; raise ValueError for what is wrong with it, except for the values of parameters."""
    try:
        fields = yaml.load(path.read_text(encoding="utf-8"), StrictLoader)
        check_keys("it", fields, {"notebook", "profiles", "runs"})
        notebook = train.ROOT / str(fields["notebook"])
        if not notebook.is_file():
            raise ValueError(f"notebook must be a file, but there is none at {notebook}")
        known = train.read_parameters(notebook)
        if missing := NEEDED - known.keys():
            raise ValueError(f"the notebook must have the parameters {', '.join(sorted(missing))}")
        for name in ("profiles", "runs"):
            if not isinstance(fields[name], dict) or not fields[name]:
                raise ValueError(f"{name} must be a mapping from names, got {fields[name]!r}")
        profiles = {name: read_profile(f"profile {name}", given) for name, given in fields["profiles"].items()}
        for name, given in fields["runs"].items():
            if not isinstance(given, dict):
                raise ValueError(f"run {name} must be a mapping of parameters, got {given!r}")
            if not isinstance(given.get("profiles", []), list):
                raise ValueError(f"run {name}: profiles must be a list of profiles, got {given['profiles']!r}")
            for profile in given.get("profiles", ()):
                if profile not in profiles:
                    raise ValueError(f"run {name}: unknown profile {profile!r}; known are {', '.join(profiles)}")
        return Matrix(notebook, known, profiles, fields["runs"])
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: {error}") from error


def check_keys(where: str, fields: object, needed: set[str], others: set[str] = frozenset()) -> None:
    """Raise ValueError unless `fields` is a mapping with the keys `needed` and at most `others` besides."""
    if not isinstance(fields, dict) or needed - fields.keys() or fields.keys() - needed - others:
        found = ", ".join(map(str, fields)) if isinstance(fields, dict) else repr(fields)
        more = f", and may have {', '.join(sorted(others))}" if others else ""
        raise ValueError(f"{where} must have the keys {', '.join(sorted(needed))}{more}; got {found}")


def read_profile(where: str, fields: object) -> Profile:
    """The profile of these fields; raise ValueError where one is not what it must be."""
    check_keys(where, fields, {"out", "seeds"}, {"cpus", "gpus", "parameters"})
    for name, least in (("cpus", 1), ("gpus", 0)):
        value = fields.get(name, least)
        if type(value) is not int or value < least:
            raise ValueError(f"{where}: {name} must be an integer of at least {least}, got {value!r}")
    seeds = fields["seeds"]
    if not isinstance(seeds, list) or not all(type(seed) is int and seed >= 0 for seed in seeds):
        raise ValueError(f"{where}: seeds must be a list of integers, none negative, got {seeds!r}")
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"{where}: seeds must be different and at least one, got {seeds!r}")
    if not isinstance(fields["out"], str):
        raise ValueError(f"{where}: out must be a folder, got {fields['out']!r}")
    if not isinstance(fields.get("parameters", {}), dict):
        raise ValueError(f"{where}: parameters must be a mapping, got {fields['parameters']!r}")
    return Profile(**fields | {"out": train.ROOT / fields["out"]})


def plan(matrix: Matrix, name: str, given: list[str], out: Path | None = None) -> list[Job]:
    """The runs of a profile, seed by seed.

    Args:
        matrix: see `read`.
        name: of the profile.
        given: NAME=VALUE, for all runs; seed may be given again.
        out: the folder of results, by default the profile's.

    Raises:
        ValueError: parameters that do not exist or do not take their values, runs without a configuration, or two
            with one result. The message has all that is wrong of the first kind, or else of the others.
    """
    profile, known = matrix.profiles[name], matrix.known
    wrong: list[str] = []

    def parse(where: str, arguments: list[str]) -> dict[str, train.Value]:
        try:
            values = train.parse(arguments, known)
            for elsewhere in ELSEWHERE.keys() & values.keys():
                raise ValueError(f"{elsewhere} is not set here, but by {ELSEWHERE[elsewhere]}")
            return values
        except ValueError as error:
            wrong.extend(f"{where}: {line}" for line in str(error).splitlines())
            return {}

    def parse_mapping(where: str, mapping: dict[str, Any]) -> dict[str, train.Value]:
        plain = {key: value for key, value in mapping.items() if isinstance(value, bool | int | float | str)}
        wrong.extend(f"{where}: {key} must be one value, got {mapping[key]!r}" for key in mapping.keys() - plain.keys())
        return parse(where, [f"{key}={value}" for key, value in plain.items()])

    seeds = profile.seeds
    own_seed = [argument for argument in given if argument.startswith("seed=")]
    if own_seed:
        seeds = [known["seed"].parse(argument.removeprefix("seed=")) for argument in own_seed]
        given = [argument for argument in given if argument not in own_seed]
    last = parse("command line", given)
    shared = parse_mapping(f"profile {name}", profile.parameters)
    own = {
        run: parse_mapping(f"run {run}", {key: value for key, value in fields.items() if key != "profiles"})
        for run, fields in matrix.runs.items()
        if name in fields.get("profiles", [name])
    }
    if not own:
        wrong.append(f"profile {name}: no run is in it")
    if wrong:
        raise ValueError("\n".join(wrong))
    jobs: dict[str, Job] = {}
    for seed in seeds:
        for run in own:
            values = shared | own[run] | {"seed": seed} | last
            job = Job(
                name=run if len(seeds) == 1 else f"{run}-seed{seed}",
                notebook=matrix.notebook,
                values={key: p.default for key, p in known.items() if key != "out"} | values,
                out=(out or profile.out).absolute(),
                executed=train.executed_name(matrix.notebook, values, known),
            )
            try:
                other = jobs.setdefault(job.result, job)
            except (TypeError, ValueError) as error:  # of the configuration
                wrong.append(f"run {run}: {error}")
                continue
            if other is not job:
                wrong.append(f"runs {other.name} and {job.name} would both leave {job.result}.json")
    if wrong:
        raise ValueError("\n".join(dict.fromkeys(wrong)))
    return list(jobs.values())


def choose(jobs: list[Job], names: list[str], runs: dict[str, Any]) -> list[Job]:
    """The jobs of these names, a run's name standing for all its seeds; raise ValueError for a name without a job."""
    seeds_of = {run: [job for job in jobs if job.name == run or job.name.startswith(f"{run}-seed")] for run in runs}
    chosen = seeds_of | {job.name: [job] for job in jobs}
    for name in names:
        if not chosen.get(name):
            raise ValueError(f"--only: unknown run {name!r}; known are {', '.join(n for n in chosen if chosen[n])}")
    wanted = [job.name for name in names for job in chosen[name]]
    return [job for job in jobs if not names or job.name in wanted]


def table(jobs: list[Job], outcomes: dict[str, Outcome]) -> str:
    """A line for each run: how it ended, the seconds that it took and its scores."""
    lines = [["run", "", "seconds", *SHOWN]]
    for job in jobs:
        outcome = outcomes.get(job.name, Outcome(job.name, "not run"))
        scores = outcome.scores or {}
        seconds = f"{outcome.seconds:.0f}" if outcome.seconds and outcome.status != "there" else ""
        shown = [f"{scores[name]:.3f}" if name in scores else "" for name in SHOWN]
        lines.append([job.name, outcome.status, seconds, *shown])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([*map(str.ljust, line[:2], widths), *map(str.rjust, line[2:], widths[2:])]).rstrip() for line in lines
    )


def follow(jobs: list[Job], ending: Iterator[Outcome], outcomes: dict[str, Outcome]) -> None:
    """Say how each run ends as it does, and put it among the outcomes, by name."""
    # An interrupt that comes between two runs, or a second one, ends the waiting: the report says what there is.
    with contextlib.suppress(KeyboardInterrupt):
        for outcome in ending:
            outcomes[outcome.name] = outcome
            scores = "".join(f"  {name} {value:.3f}" for name, value in (outcome.scores or {}).items())
            said = f"{outcome.name}: {outcome.status}, {outcome.seconds:.0f} s{scores}"
            print(f"[{len(outcomes)}/{len(jobs)}] {said}", flush=True)


def report(jobs: list[Job], outcomes: dict[str, Outcome], again: str) -> int:
    """Print the table and the failures; return the exit status."""
    print(f"\n{table(jobs, outcomes)}", flush=True)
    failed = [outcome for outcome in outcomes.values() if outcome.status == "failed"]
    for outcome in failed:
        print(f"\n{outcome.name} failed: {outcome.problem.rstrip()}", file=sys.stderr)
    if len(outcomes) < len(jobs) or any(outcome.status == "stopped" for outcome in outcomes.values()):
        print(f"\nStopped. To go on: {again}", file=sys.stderr)
        return 130
    if failed:
        print(f"\n{len(failed)} of {len(jobs)} failed. To do what is missing: {again}", file=sys.stderr)
    return 1 if failed else 0


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(description="Do the training runs of a matrix that are missing.")
    parser.add_argument("profile", nargs="?", help="what is spent on a run: a profile of the matrix")
    parser.add_argument("values", nargs="*", metavar="NAME=VALUE", help="parameters for all runs")
    parser.add_argument("--list", action="store_true", help="show the runs, and whether they are done; run nothing")
    parser.add_argument("--only", action="append", default=[], metavar="RUN", help="do this one; may be given again")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time, on this machine; default: 1")
    parser.add_argument(
        "--ray", metavar="ADDRESS", help="do the runs on the Ray cluster there; auto: the one of this machine"
    )
    parser.add_argument("--retries", type=int, default=3, help="of a run whose machine is lost, with --ray; default: 3")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="of the results; default: the profile's")
    parser.add_argument("--matrix", type=Path, default=MATRIX, metavar="FILE", help="default: ci/matrix.yml")
    args = parser.parse_intermixed_args(arguments)
    try:
        matrix = read(args.matrix)
        wanted = list(matrix.profiles) if args.list and args.profile is None else [args.profile]
        for name in wanted:
            if name not in matrix.profiles:
                raise ValueError(f"profile must be one of {', '.join(matrix.profiles)}, got {name}")
            profile = matrix.profiles[name]
            jobs = choose(plan(matrix, name, args.values, args.out), args.only, matrix.runs)
            # Another run in the place of one is found here, before anything runs.
            found = {job.name: job.recorded() for job in jobs}
            outcomes = {n: Outcome(n, "there", scores=scores_of(r)) for n, r in found.items() if r is not None}
            if args.list:
                print(f"{name}: {len(jobs)} runs, results in {jobs[0].out}\n\n{table(jobs, outcomes)}\n")
        for option, value, least in (("--jobs", args.jobs, 1), ("--retries", args.retries, 0)):
            if value < least:
                raise ValueError(f"{option} must be an integer of at least {least}, got {value}")
        missing = [job for job in jobs if job.name not in outcomes]
        if args.ray and missing and not args.list:
            engines.connect(args.ray)
    except ValueError as error:
        parser.error(str(error))
    if args.list:
        return 0
    print(f"{len(jobs)} runs, {len(outcomes)} of them done before; results in {jobs[0].out}", flush=True)
    if args.ray and missing:
        ending = engines.on_ray(missing, cpus=profile.cpus, gpus=profile.gpus, retries=args.retries)
    elif args.jobs > 1:
        ending = engines.in_processes(missing, args.jobs)
    else:
        ending = engines.one_by_one(missing)
    follow(jobs, ending, outcomes)
    return report(jobs, outcomes, again=shlex.join([sys.executable, *sys.argv[:1], *arguments]))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # which saves checkpoints, as Ctrl-C does
    sys.exit(main())
