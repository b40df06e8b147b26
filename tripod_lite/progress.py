"""Saying how far a long run is, and being stopped in the middle of one."""

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

import jax


class Progress:
    """A progress bar, or a line now and then where there is neither terminal nor notebook.

    Args:
        done: steps done before.
        steps: steps in all.
        wanted: True for a bar (lines where there is neither terminal nor notebook), N for a line every N steps,
            False or 0 for silence.
        note: what to say at the start, such as the device.
    """

    def __init__(self, done: int, steps: int, wanted: bool | int, note: str):
        self._start, self._done, self._steps, self._clock = done, done, steps, time.perf_counter()
        self._bar, self._every = None, 0
        # Of several processes the first one speaks, in lines; all of them stop for these, or their calls would differ.
        self._speaks = jax.process_index() == 0
        if wanted is True and jax.process_count() == 1 and (sys.stderr.isatty() or "ipykernel" in sys.modules):
            from tqdm.auto import tqdm

            self._bar = tqdm(initial=done, total=steps, unit="step", desc=note)
        elif wanted:
            self._every = max(1, steps // 20) if wanted is True else int(wanted)
            self._say(note)

    def is_due(self, done: int) -> bool:
        """Whether a line is wanted after this step."""
        return bool(self._every) and (done % self._every == 0 or done == self._steps)

    def next_line(self, done: int) -> int:
        """The next step after which a line is wanted."""
        return (done // self._every + 1) * self._every if self._every else self._steps

    def update(self, done: int, latest: str) -> None:
        """Say that `done` steps are done; `latest` are the latest figures."""
        if self._bar is not None:
            self._bar.set_postfix_str(latest, refresh=False)
            self._bar.update(done - self._done)
        elif self.is_due(done):
            rate = (time.perf_counter() - self._clock) / (done - self._start)
            self._say(f"step {done}/{self._steps}  {latest}  {rate:.3f} s/step")
        self._done = done

    def _say(self, line: str) -> None:
        if self._speaks:
            print(line, flush=True)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Keep Ctrl-C (a notebook's stop button) until it is asked for: yields a function that says whether it came.

    A second one is not kept. Nothing is deferred outside of the main thread, which alone gets signals, nor where
    several processes train together: one that left the loop would leave the others waiting.
    """
    if threading.current_thread() is not threading.main_thread() or jax.process_count() > 1:
        yield lambda: False
        return
    came = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        signal.signal(number, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: came
    finally:
        signal.signal(signal.SIGINT, before)
