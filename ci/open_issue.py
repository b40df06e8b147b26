"""Open an issue about a workflow's failure unless one with the same title is open: `python ci/open_issue.py TITLE`.

It runs the GitHub CLI, `gh`, which needs GH_TOKEN, and takes the repository and the run from GitHub's own variables.
"""

import json
import os
import subprocess
import sys

MOST = "1000"  # open issues that are looked through


def gh(*arguments: str) -> str:
    """Run the GitHub CLI on this repository; return what it prints, raise CalledProcessError where it fails."""
    command = ["gh", "issue", *arguments, "--repo", os.environ["GITHUB_REPOSITORY"]]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def main(title: str) -> None:
    """Look for an open issue with this title, and open one if there is none."""
    for issue in json.loads(gh("list", "--state", "open", "--limit", MOST, "--json", "number,title")):
        if issue["title"] == title:
            print(f"Issue {issue['number']} is open: {title}")
            return
    run = "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}".format(**os.environ)
    workflow = os.environ["GITHUB_WORKFLOW"]
    body = f"The workflow `{workflow}` failed: {run}\n\nLater failures are not added here while this issue is open."
    print(gh("create", "--title", title, "--body", body).strip())


if __name__ == "__main__":
    if len(sys.argv) != 2 or not sys.argv[1].strip():
        sys.exit(f"usage: python ci/open_issue.py TITLE, got {len(sys.argv) - 1} arguments: {sys.argv[1:]}")
    main(sys.argv[1])
