"""Many photos on a CPU: each core reads and answers batches of its own, by the quickest engine that is true.

Threads that share a batch wait for each other after every layer, and one that waits while another decodes
spins: on two busy cores that took more than twice the time.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reslab.errors import PhotosError
from reslab.evaluation.inference import (
    Photo,
    Read,
    answer,
    answer_exactly,
    batch_size_at,
    fill,
    read_photo,
    stack,
    whole,
)
from reslab.hardware import cores, threads
from reslab.parallel import on_all_cores
from reslab.photos.loading.preprocess import Preprocess

from .backends import Answer, Engine, choose

MANY = 256  # photos; fewer are answered before an engine is chosen
BATCH_SIZE = 16  # photos that a core answers at once; more do not fit its cache; by the first it is chosen
CHECKED = 64  # batches, of which one photo is held against the network
TOGETHER = 4  # photos for the network itself, or batches, before it answers what there is

log = logging.getLogger("reslab")


def are_many(photos: int) -> bool:
    """Whether it pays to choose an engine, and there is work for every core."""
    return photos >= max(MANY, 2 * BATCH_SIZE * cores())


def answer_many(
    network: nn.Module, photos: Sequence[Photo], preprocess: Preprocess, rough: bool
) -> Iterator[Read]:
    """Each photo's logits (num_classes,), or why it cannot be read, in order. `rough`: bf16 will do."""
    cpu = torch.device("cpu")

    def exact(images: Tensor) -> Tensor:
        return answer(network, images, cpu)

    at_once = batch_size_at(preprocess.size, BATCH_SIZE)
    for start in range(0, len(photos), at_once):
        read = [read_photo(photo, preprocess) for photo in photos[start : start + at_once]]
        if whole(read):
            break
        yield from read
    else:
        return
    logits, engine = choose(network, exact, preprocess.normalize(stack(whole(read))), rough)
    yield from fill(read, logits)
    start += len(read)
    if engine is not None:
        log.info("predicting by %s", engine.name)
        start = yield from _answer_by(engine, exact, photos, preprocess, start)
    yield from answer_exactly(network, photos[start:], preprocess, cpu)


@dataclass(frozen=True)
class _Batch:
    """Logits or error of each photo from `start` on; those that the network shall answer again, in uint8.

    No answers at all: the engine failed.
    """

    start: int
    answers: list[Read]
    again: dict[int, Read]


def _answer_by(
    engine: Engine, exact: Answer, photos: Sequence[Photo], preprocess: Preprocess, first: int
) -> Generator[Read, None, int]:
    """Answers from photo `first` on; returns how far that came: to the end, unless the engine disagreed."""
    at_once = batch_size_at(preprocess.size, BATCH_SIZE)

    def work(start: int) -> _Batch:
        torch.set_num_threads(1)  # in this thread
        read = [read_photo(photo, preprocess) for photo in photos[start : start + at_once]]
        places = [place for place, item in enumerate(read) if not isinstance(item, PhotosError)]
        if not places:
            return _Batch(start, read, {})
        try:
            logits = engine.answer(preprocess.normalize(stack(whole(read))))
        except Exception as error:  # noqa: BLE001  whatever it is, the network itself is there
            log.info("%s failed: %s", engine.name, error)
            return _Batch(start, [], {})
        again = engine.close(logits)
        if (start - first) // at_once % CHECKED == 0:
            again[0] = True
        chosen = [places[i] for i in again.nonzero().flatten().tolist()]
        return _Batch(start, fill(read, logits), {place: read[place] for place in chosen})

    starts = range(first, len(photos), at_once)
    waiting: list[_Batch] = []
    try:
        with closing(on_all_cores(work, starts)) as batches:
            for batch in batches:
                waiting.append(batch)
                last = batch.start == starts[-1]
                if not last and max(len(waiting), sum(len(b.again) for b in waiting)) < TOGETHER:
                    continue
                if not _settle(waiting, engine, exact, preprocess):
                    log.warning("%s failed or left its tolerance: the network itself goes on", engine.name)
                    return waiting[0].start
                for done in waiting:
                    yield from done.answers
                waiting.clear()
    finally:
        torch.set_num_threads(torch.get_num_threads())  # for threads to come, what holds for this one
    return len(photos)


def _settle(batches: list[_Batch], engine: Engine, exact: Answer, preprocess: Preprocess) -> bool:
    """Puts in the network's own logits where they count; False if the engine failed or left its tolerance."""
    if not all(batch.answers for batch in batches):
        return False
    again = [(batch, place) for batch in batches for place in batch.again]
    if not again:
        return True
    images = stack(whole(batch.again[place] for batch, place in again))
    with threads(1):  # the other cores are at work
        logits = exact(preprocess.normalize(images))
    found = torch.stack(whole(batch.answers[place] for batch, place in again))
    for (batch, place), row in zip(again, logits, strict=True):
        batch.answers[place] = row
    return engine.agrees(found, logits) or not bool(logits.isfinite().all())  # then nobody is right
