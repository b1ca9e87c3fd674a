"""Progress bars in a terminal or notebook, and lines of text above them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from .loop import Epoch, Step

T = TypeVar("T")
Say = Callable[[str], Any]  # prints a line of text for people, as `say` does


def bar(items: Iterable[T], total: int, title: str, progress: bool) -> Iterator[T]:
    """Yield `items` with a progress bar on standard error, which disappears at the end.

    Args:
        total: number of items.
        title: text before the bar.
        progress: False shows no bar. True shows one only if standard error is a terminal, or in a notebook.
    """
    from tqdm.auto import tqdm

    yield from tqdm(items, title, total, leave=False, disable=None if progress else True, dynamic_ncols=True)


def with_bars(events: Iterable[Step | Epoch], progress: bool) -> Iterator[Step | Epoch]:
    """Yield the events of `training_loop`, with a bar for each epoch: loss, images per second, time left.

    Args:
        progress: as in `bar`.
    """
    from tqdm.auto import tqdm

    shown: Any = None
    try:
        for event in events:
            if isinstance(event, Step):
                redrawn = shown is None or shown.update()
                if shown is None:
                    shown = tqdm(
                        desc=f"Epoch {event.epoch}/{event.epochs}",
                        total=event.steps,
                        initial=event.step,  # the first step took place before the bar's clock started
                        unit="step",
                        leave=False,
                        disable=None if progress else True,
                        dynamic_ncols=True,
                    )
                if redrawn and not shown.disable:  # reading the loss at every step would wait for a GPU
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
    """Print a line for people to standard error, above any bar."""
    from tqdm.auto import tqdm

    tqdm.write(text, file=sys.stderr)
