"""Bars for people at a terminal; nothing at all where there is none."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from .loop import Epoch, Step

T = TypeVar("T")


def bar(items: Iterable[T], total: int, title: str, progress: bool) -> Iterator[T]:
    """`items`, counted by a bar that goes away when they are done."""
    from tqdm.auto import tqdm

    yield from tqdm(items, title, total, leave=False, disable=None if progress else True, dynamic_ncols=True)


def with_bars(training_loop: Iterable[Step | Epoch], progress: bool) -> Iterator[Step | Epoch]:
    """`events`, with a bar for every epoch: running loss, images a second, time left."""
    from tqdm.auto import tqdm

    shown = None
    try:
        for event in training_loop:
            drawn = True
            if shown is not None and isinstance(event, Step):
                drawn = bool(shown.update())
            elif isinstance(event, Step):
                shown = tqdm(
                    desc=f"Epoch {event.epoch}/{event.epochs}",
                    total=event.steps,
                    initial=event.step,  # the first one began before the bar's clock
                    unit="step",
                    leave=False,
                    disable=None if progress else True,
                    dynamic_ncols=True,
                )
            if shown is not None and isinstance(event, Step):
                if drawn and not shown.disable:  # reading the loss at every step would wait for the device
                    shown.set_postfix_str(
                        f"train_loss {event.train_loss:.3f}, {event.images_per_second:.0f} images/s",
                        refresh=False,
                    )
                if event.step == event.steps:
                    shown.close()
                    shown = None
            yield event
    finally:
        if shown is not None:
            shown.close()


def say(text: str) -> None:
    """A line for people, on standard error, above any bar."""
    from tqdm.auto import tqdm

    tqdm.write(text, file=sys.stderr)
