"""An issue is opened once; a stand-in for the GitHub CLI notes what it was asked."""

import json
import os
import subprocess
import sys

import open_issue
import pytest

GH = """#!{python}
import json, sys
with open({log!r}, "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
print({issues!r} if sys.argv[2] == "list" else "https://example.org/issues/8")
sys.exit({status})
"""
RUN = {
    "GITHUB_REPOSITORY": "me/book",
    "GITHUB_SERVER_URL": "https://example.org",
    "GITHUB_RUN_ID": "5",
    "GITHUB_WORKFLOW": "links",
}


@pytest.fixture
def report(tmp_path):
    """Return a function that reports a failure where some issues are open, and returns the process and the calls."""

    def run(*titles, status=0, arguments=('It\'s "broken"',)):
        issues = json.dumps([{"number": 7 + k, "title": title} for k, title in enumerate(titles)])
        log = tmp_path / "calls"
        gh = tmp_path / "gh"
        gh.write_text(GH.format(python=sys.executable, log=str(log), issues=issues, status=status))
        gh.chmod(0o755)
        environment = os.environ | RUN | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
        command = [sys.executable, open_issue.__file__, *arguments]
        process = subprocess.run(command, env=environment, capture_output=True, text=True)
        return process, [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    return run


def test_an_issue_is_opened_with_the_run(report):
    process, (_, create) = report("Another", "It's")
    assert process.returncode == 0, process.stderr
    assert "https://example.org/issues/8" in process.stdout
    given = dict(zip(create[2::2], create[3::2], strict=True))
    assert create[:2] == ["issue", "create"]
    assert given["--title"] == 'It\'s "broken"'
    assert given["--repo"] == "me/book"
    assert "`links` failed: https://example.org/me/book/actions/runs/5" in given["--body"]


def test_an_open_issue_is_not_doubled(report):
    process, calls = report("Another", 'It\'s "broken"')
    assert process.returncode == 0
    assert process.stdout == 'Issue 8 is open: It\'s "broken"\n'
    assert [call[1] for call in calls] == ["list"]


def test_a_failing_client_and_a_missing_title_are_errors(report):
    process, _ = report(status=4)
    assert process.returncode != 0
    assert "CalledProcessError" in process.stderr
    process, _ = report(arguments=())
    assert process.returncode != 0
    assert "usage: python ci/open_issue.py TITLE" in process.stderr
