"""Measure: `python -m benchmarks [NAME] [options]`.

NAME is training (or nothing), probes, beyond, metrics, scenes, data or kills.

For the options: `python -m benchmarks NAME --help`.
"""

import importlib
import sys

NAMES = ("training", "probes", "beyond", "metrics", "scenes", "data", "kills")


def main(arguments: list[str]) -> int:
    """Run one benchmark with its options."""
    if arguments[:1] in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    name = "training"
    if arguments and not arguments[0].startswith("-"):
        name, *arguments = arguments
    if name not in NAMES:
        print(f"benchmark must be one of {', '.join(NAMES)}, got {name!r}", file=sys.stderr)
        return 2
    importlib.import_module(f"benchmarks.{name}").main(arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
