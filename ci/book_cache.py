"""Drop the built book when what its chapters run on has changed.

The book's cache compares code cells only: a changed package, data file or dependency would re-run nothing. This script
keeps a hash of them beside the build and removes the build when it no longer matches, so that every chapter runs again.
"""

import hashlib
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
INPUTS = ("tripod_lite", "data", "pyproject.toml", "requirements.lock", "_config.yml")


def key(root: Path = ROOT) -> str:
    """Hash the Python version and every file that a chapter's results may depend on, by name and content."""
    digest = hashlib.sha256(sys.version.encode())
    for name in INPUTS:
        top = root / name
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            # Checkpoints and executed notebooks, which a training run leaves, are read by no chapter.
            below = {"__pycache__", "checkpoints"} & set(path.relative_to(root).parts)
            if path.is_dir() or below or path.suffix == ".ipynb":
                continue
            digest.update(f"\n{path.relative_to(root).as_posix()}\n".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def refresh(build: Path, root: Path = ROOT) -> bool:
    """Remove `build` unless it was made with the present key; return whether it was kept."""
    stamp, now = build / "cache-key", key(root)
    kept = stamp.is_file() and stamp.read_text() == now
    if not kept:
        shutil.rmtree(build, ignore_errors=True)
        build.mkdir(parents=True)
        stamp.write_text(now)
    return kept


if __name__ == "__main__":
    kept = refresh(Path(sys.argv[1]))
    print("Chapters whose code is unchanged are not run again." if kept else "Nothing to reuse: every chapter is run.")
