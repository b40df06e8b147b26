"""The driver of the run matrix: what is wrong stops it at once, what fails stops nothing else, what is done stays."""

import fcntl
import os
import re
import threading

import attempts
import engines
import matrix
import nbformat
import pytest
import train
import yaml
from small_matrices import LEAVES_A_RESULT, a_result, write_matrix

ABLATIONS = {"shapes3d-noquant", "shapes3d-noklm", "shapes3d-nonhp", "shapes3d-none"}
BENCHMARKS = {"shapes3d", "mpi3d", "falcor3d", "isaac3d"}


@pytest.fixture(scope="module")
def repository():
    """The matrix of this repository."""
    return matrix.read(matrix.MATRIX)


def result(folder, seed):
    return folder / f"out/shapes3d-twin-tiny-32-seed{seed}.json"


def test_smoke_covers_the_benchmarks_and_ablations_and_leaves_the_recorded_runs_alone(repository):
    jobs = matrix.plan(repository, "smoke", [])
    assert {job.name for job in jobs} == BENCHMARKS | ABLATIONS | {"shapes3d-released"}
    assert {job.out for job in jobs} == {train.ROOT / "build/smoke"}
    assert all(job.values["steps"] <= 50 and job.values["source"] == "twin" for job in jobs)
    assert len({job.executed for job in jobs}) == len(jobs)


def test_full_has_every_run_on_every_seed_and_can_be_switched_to_the_real_sets(repository):
    jobs = matrix.plan(repository, "full", ["source=real", "size=paper"])
    runs = BENCHMARKS | ABLATIONS | {"shapes3d-leave-one-out"}
    assert {job.name for job in jobs} == {f"{run}-seed{seed}" for run in runs for seed in range(3)}
    assert {job.out for job in jobs} == {train.RESULTS}
    assert "mpi3d-real-paper-64-seed2" in {job.result for job in jobs}
    first = matrix.plan(repository, "full", ["seed=7"])[0]
    assert first.name == "shapes3d" and first.values["seed"] == 7
    again = matrix.plan(repository, "full", ["seed=7", "seed=5"])
    assert {job.name.removeprefix("shapes3d-") for job in again} >= {"seed7", "seed5", "none-seed5"}


def test_each_ablation_switches_off_what_its_name_says(repository):
    configs = {job.name.removeprefix("shapes3d-"): job.config for job in matrix.plan(repository, "smoke", [])}
    off = {
        name: {leg for leg in ("quantize", "lambda_klm", "lambda_nhp") if not getattr(config, leg)}
        for name, config in configs.items()
    }
    legs = {"noquant": {"quantize"}, "noklm": {"lambda_klm"}, "nonhp": {"lambda_nhp"}}
    assert off == {name: set() for name in off} | legs | {"none": {"quantize", "lambda_klm", "lambda_nhp"}}
    assert configs["released"].estimator == "released" != configs["shapes3d"].estimator


GOOD = {
    "notebook": "book/training/train.ipynb",
    "profiles": {"p": {"out": "build/p", "seeds": [0], "parameters": {"steps": 3}}},
    "runs": {"a": {"dataset": "shapes3d"}, "b": {"dataset": "mpi3d"}},
}


def changed(**changes):
    return yaml.safe_dump(GOOD | changes, sort_keys=False)


def profile(**changes):
    return changed(profiles={"p": GOOD["profiles"]["p"] | changes})


def run(**fields):
    return changed(runs={"a": fields})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected the node content"),
        ("[]", r"it must have the keys notebook, profiles, runs; got \[\]"),
        (changed(seeds=[1]), "it must have the keys .*; got notebook, profiles, runs, seeds"),
        (changed(notebook="none.ipynb"), "notebook must be a file, but there is none at .*/none.ipynb"),
        (changed(runs={}), r"runs must be a mapping from names, got \{\}"),
        (changed(runs={"a": 3}), "run a must be a mapping of parameters, got 3"),
        (changed() + "runs: {}\n", "'runs' is there more than once"),
        (changed() + "  b: {dataset: isaac3d}\n", r"'b' is there more than once, in the mapping of line \d+"),
        (profile(seed=[1]), "profile p must have the keys out, seeds, and may have .*; got .*, seed"),
        (profile(seeds=[]), r"profile p: seeds must be different and at least one, got \[\]"),
        (profile(seeds=[1, 1]), r"profile p: seeds must be different and at least one, got \[1, 1\]"),
        (profile(seeds=["1"]), r"profile p: seeds must be a list of integers, none negative, got \['1'\]"),
        (profile(gpus=-1), "profile p: gpus must be an integer of at least 0, got -1"),
        (profile(cpus=True), "profile p: cpus must be an integer of at least 1, got True"),
        (profile(out=3), "profile p: out must be a folder, got 3"),
        (profile(parameters=[3]), r"profile p: parameters must be a mapping, got \[3\]"),
        (profile(parameters={"stesp": 3}), "profile p: unknown parameter 'stesp'; known are dataset, .*"),
        (profile(parameters={"steps": 3.5}), r"profile p: steps must be an integer \(int\), got '3.5'"),
        (profile(parameters={"out": "x"}), "profile p: out is not set here, but by out of the profile"),
        (run(steps="many"), r"run a: steps must be an integer \(int\), got 'many'"),
        (run(steps=True), r"run a: steps must be an integer \(int\), got 'True'"),
        (run(quantize=1), r"run a: quantize must be true or false \(bool\), got '1'"),
        (run(steps=[1, 2]), r"run a: steps must be one value, got \[1, 2\]"),
        (run(steps=None), "run a: steps must be one value, got None"),
        (run(seed=1), "run a: seed is not set here, but by seeds of the profile"),
        (run(dataset="cats"), "run a: dataset must be one of shapes3d, .*, got 'cats'"),
        (run(estimator="none"), "run a: estimator must be one of released, .*, got 'none'"),
        (run(profiles=["q"]), "run a: unknown profile 'q'; known are p"),
        (changed(runs={"a": {"profiles": []}}), "profile p: no run is in it"),
        (changed(runs={"a": {"steps": "x"}, "b": {}}), r"run a: steps must be an integer [^\n]*\n$"),
        (run(profiles="p"), "run a: profiles must be a list of profiles, got 'p'"),
        (
            changed(runs={"a": {"dataset": "shapes3d"}, "b": {"print_every": 1}}),
            "runs a and b would both leave shapes3d-twin-tiny-32-seed0.json",
        ),
    ],
)
def test_a_wrong_matrix_is_one_error_before_anything_runs(tmp_path, text, message, capsys):
    (tmp_path / "wrong.yml").write_text(text)
    with pytest.raises(SystemExit) as caught:
        matrix.main(["p", f"--matrix={tmp_path / 'wrong.yml'}", f"--out={tmp_path / 'out'}"])
    assert caught.value.code == 2
    assert re.search(message, capsys.readouterr().err, flags=re.DOTALL)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["smokes"], "profile must be one of smoke, full, got smokes"),
        ([], "profile must be one of smoke, full, got None"),
        (["smoke", "--matrix=none.yml"], "none.yml: .*No such file"),
        (["smoke", "--only=cats"], "--only: unknown run 'cats'; known are shapes3d, mpi3d, "),
        (["smoke", "--only=shapes3d-leave-one-out"], "--only: unknown run 'shapes3d-leave-one-out'"),
        (["smoke", "--jobs=0"], "--jobs must be an integer of at least 1, got 0"),
        (["smoke", "--retries=-1"], "--retries must be an integer of at least 0, got -1"),
        (["smoke", "stesp=1"], "command line: unknown parameter 'stesp'"),
        (["smoke", "seed=x"], r"seed must be an integer \(int\), got 'x'"),
    ],
)
def test_a_wrong_command_is_named(tmp_path, arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        matrix.main([*arguments, f"--out={tmp_path / 'out'}"])
    assert caught.value.code == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_one_run_of_several_seeds_can_be_chosen(repository):
    jobs = matrix.plan(repository, "full", [])
    chosen = matrix.choose(jobs, ["mpi3d", "shapes3d-seed1"], repository.runs)
    assert [job.name for job in chosen] == ["mpi3d-seed0", "shapes3d-seed1", "mpi3d-seed1", "mpi3d-seed2"]
    assert matrix.choose(jobs, [], repository.runs) == jobs


def test_a_failure_is_reported_with_cell_and_traceback_and_the_rest_completes(tmp_path, capsys):
    dies = "import os\n_ = seed == 2 and os._exit(9)"
    fails = f"def look_up(seed):\n    return {{0: 'a', 3: 'b'}}[seed]\n\n{dies}\nlook_up(seed)"
    path = write_matrix(tmp_path, LEAVES_A_RESULT, fails, seeds=range(4), print_every=7)
    command = ["small", f"--matrix={path}"]
    assert matrix.main(command) == 1
    printed = capsys.readouterr()
    assert "[4/4] shapes3d-seed3: done" in printed.out
    for line in ("seed0  done", "seed1  failed", "seed2  failed", "seed3  done"):
        assert f"shapes3d-{line}" in printed.out
    one, two = printed.err.split("shapes3d-seed1 failed: ")[1].split("shapes3d-seed2 failed: ")
    executed = "out/small-seed={}-print_every=7.ipynb"
    assert one.startswith(f"{tmp_path / executed.format(1)}, cell [4]:\n\n    def look_up(seed):\n")
    assert "\x1b" not in one and re.search(r"----> 2 .*return .*\n.*KeyError: 1$", one.strip(), flags=re.DOTALL)
    assert two.startswith(f"{tmp_path / executed.format(2)}, cell [4]:\n\n    def look_up(seed):\n")
    assert "The kernel died in this cell" in two
    assert "2 of 4 failed. To do what is missing: " in two

    # Of the failed ones there is the notebook as far as it came, and nothing that looks like a result.
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "checkpoints",
        *(f"small-seed={seed}-print_every=7.ipynb".replace("-seed=0", "") for seed in range(4)),
        *(f"shapes3d-twin-tiny-32-seed{seed}{end}" for seed in (0, 3) for end in (".json", "-nmi.png")),
    }
    assert not list((tmp_path / "out/checkpoints").glob("*.attempt-*"))

    # The next call does the failed ones only.
    before = {seed: os.stat(result(tmp_path, seed)).st_mtime_ns for seed in (0, 3)}
    write_matrix(tmp_path, LEAVES_A_RESULT, seeds=range(4), print_every=7)
    assert matrix.main(command) == 0
    printed = capsys.readouterr()
    assert "4 runs, 2 of them done before" in printed.out
    assert printed.out.count("starts on") == 2 and printed.err == ""
    assert {seed: os.stat(result(tmp_path, seed)).st_mtime_ns for seed in (0, 3)} == before
    assert matrix.main(command) == 0
    assert "starts on" not in capsys.readouterr().out


def test_a_changed_configuration_is_not_taken_as_done(tmp_path, capsys):
    path = write_matrix(tmp_path, LEAVES_A_RESULT)
    assert matrix.main(["small", f"--matrix={path}"]) == 0
    for changes, message in {
        "steps=7": r"holds the result of another run \(steps: \d+ there, 7 asked for\); remove it, or choose",
        "batch_size=7": r"another run \(batch_size: \d+ there, 7 asked for\)",
        "eval_images=7": "has the scores of the same run on 10000 images, 7 asked for; remove it, or choose",
    }.items():
        with pytest.raises(SystemExit):
            matrix.main(["small", f"--matrix={path}", changes])
        assert re.search(message, capsys.readouterr().err)
    assert matrix.main(["small", f"--matrix={path}", "--list"]) == 0
    assert "shapes3d  there" in capsys.readouterr().out


def test_a_notebook_that_leaves_nothing_has_failed(tmp_path, capsys):
    path = write_matrix(tmp_path, "print(seed)")
    assert matrix.main(["small", f"--matrix={path}"]) == 1
    error = capsys.readouterr().err
    assert "shapes3d failed: small.ipynb ran to its end and left no shapes3d-twin-tiny-32-seed0.json" in error


def test_ctrl_c_stops_with_what_there_is_and_says_how_to_go_on(tmp_path, capsys):
    press = "import os, signal, time\nif seed == 1:\n    os.kill(os.getppid(), signal.SIGINT)\n    time.sleep(60)"
    command = ["small", f"--matrix={write_matrix(tmp_path, press, LEAVES_A_RESULT, seeds=range(3))}"]
    assert matrix.main(command) == 130
    printed = capsys.readouterr()
    assert re.search(r"seed0  done .*seed1  stopped .*seed2  not run", printed.out, flags=re.DOTALL)
    assert printed.err.splitlines()[-1].startswith("Stopped. To go on: ")
    assert printed.err.splitlines()[-1].endswith(" ".join(command))
    assert result(tmp_path, 0).exists() and not result(tmp_path, 1).exists()


def test_several_at_a_time_say_which_they_are_and_survive_the_death_of_one(tmp_path, capfd):
    dies = "import os, signal\nprint('here', seed)\nif seed == 1:\n    os.kill(os.getppid(), signal.SIGKILL)"
    path = write_matrix(tmp_path, dies, LEAVES_A_RESULT, seeds=range(2))
    assert matrix.main(["small", f"--matrix={path}", "--jobs=2"]) == 1
    printed = capfd.readouterr()
    assert "shapes3d-seed0 | here 0\n" in printed.out
    assert "shapes3d-seed1 failed: its process ended with status -9" in printed.err
    assert result(tmp_path, 0).exists() and not result(tmp_path, 1).exists()


def test_without_ray_the_command_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        matrix.main(["smoke", "--ray=auto", f"--out={tmp_path / 'out'}"])
    needs = "--ray needs Ray: .venv/bin/python -m pip install -c requirements.lock -e '.[sweep]'"
    assert needs in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_result_that_is_not_the_one_asked_for_does_not_land(tmp_path, capsys):
    path = write_matrix(tmp_path, "steps = 7\n" + LEAVES_A_RESULT)
    assert matrix.main(["small", f"--matrix={path}"]) == 1
    assert re.search(r"holds the result of another run \(steps: 7 there, \d+ asked for\)", capsys.readouterr().err)
    assert [p.name for p in sorted((tmp_path / "out").iterdir())] == ["checkpoints", "small.ipynb"]


@pytest.fixture
def job(tmp_path):
    (one,) = matrix.plan(matrix.read(write_matrix(tmp_path, LEAVES_A_RESULT)), "small", [])
    return one


def test_a_second_process_waits_and_finds_the_run_done(job, capsys):
    lock = job.out / f"checkpoints/{job.result}.lock"
    lock.parent.mkdir(parents=True)

    def end(held):
        (job.out / f"{job.result}.json").write_text(a_result())
        held.close()

    held = lock.open("w")
    fcntl.flock(held, fcntl.LOCK_EX)
    timer = threading.Timer(0.5, end, [held])
    timer.start()
    outcome = attempts.attempt(job)
    timer.join()
    assert outcome.status == "there" and outcome.scores["psnr"] > 0
    assert capsys.readouterr().out == "shapes3d: waits for another process that does it\n"


def test_of_two_attempts_that_end_the_first_one_counts(job):
    works = [job.out / "checkpoints" / f"{job.result}.attempt-{n}" for n in (1, 2)]
    for n, work in enumerate(works, 1):
        work.mkdir(parents=True)
        (work / "checkpoints").symlink_to("..")
        (work / job.executed).write_text(f"notebook {n}")
        (work / f"{job.result}-nmi.png").write_text(f"picture {n}")
        (work / f"{job.result}.json").write_text(a_result(steps=n))
    (job.out / f"checkpoints/{job.result}").mkdir()
    for work in works:
        attempts.land(work, job, scored=True)
    assert {p.name: p.read_text() for p in job.out.iterdir() if p.is_file()} == {
        job.executed: "notebook 1",
        f"{job.result}-nmi.png": "picture 1",
        f"{job.result}.json": a_result(steps=1),
    }
    assert [p.name for p in (job.out / "checkpoints").iterdir()] == [job.result]


def test_the_executed_notebook_has_its_outputs(tmp_path, capsys):
    path = write_matrix(tmp_path, "print('seen', seed)", LEAVES_A_RESULT)
    assert matrix.main(["small", f"--matrix={path}"]) == 0
    (cell,) = [c for c in nbformat.read(tmp_path / "out/small.ipynb", as_version=4).cells if "seen" in c.source]
    assert cell.outputs[0].text == "seen 0\n"
    assert "seen 0" in capsys.readouterr().out
