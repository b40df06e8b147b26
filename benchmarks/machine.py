"""Whether the machine was idle but for the benchmark, as it should be."""

import os
import time
from pathlib import Path

TICKS = Path("/proc/stat")


class OtherLoad:
    """How many cores other processes use, from when this object was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter(), _busy_seconds(), time.process_time()

    def cores(self) -> float | None:
        """Cores in use by others on average so far; None where the system does not say."""
        clock, busy, own = self._start
        now = _busy_seconds()
        if busy is None or now is None:
            return None
        spent = time.perf_counter() - clock
        return round(max(0.0, (now - busy - (time.process_time() - own)) / spent), 2)


def _busy_seconds() -> float | None:
    """Seconds of all cores since the start of the machine in which they were not idle; None if not Linux."""
    if not TICKS.is_file():
        return None
    user, nice, system, _idle, _waiting, *rest = map(int, TICKS.read_text().split("\n", 1)[0].split()[1:9])
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")
