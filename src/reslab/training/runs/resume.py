"""A run from where it stands to its end. A new run and a resumed one go the same way."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from reslab import files, locks
from reslab.errors import RunError, TrainingError
from reslab.evaluation.classifier import Classifier
from reslab.evaluation.inference import predict_logits
from reslab.evaluation.metrics import fit_temperature
from reslab.evaluation.model_file import MODEL_NAME
from reslab.networks.registry import NetworkSpec
from reslab.photos.folder.photos import Photos
from reslab.training.failures import translate_out_of_memory
from reslab.training.loop import Epoch, Step, training_loop
from reslab.training.progress import with_bars
from reslab.training.setup import TrainingSetup, find_again, prepare
from reslab.training.timing.precision_cache import MeasuredPrecision

from . import checkpoint
from .live_curves import Curves
from .reproducibility import check_photos, kept_epoch, notes
from .run import Run, best_of
from .start import build
from .stop_signals import Stop, stopping


def epochs_of(
    run: Run, *, network: nn.Module | None = None, progress: bool = True, say: Callable[[str], Any]
) -> Iterator[Epoch]:
    """Trains on from the checkpoint and yields every epoch as it is done; at the end the result is written.

    Ctrl-C or SIGTERM saves a checkpoint after the present step, then raises KeyboardInterrupt.
    """
    if run.state == "finished":
        say(f"{run.folder} is finished: nothing to go on with")
        return
    began = time.monotonic()
    with locks.only_process(run.folder), _how_to_go_on(run, say):
        files.remove_leftovers(run.folder)
        photos = run.photos
        prepared = _prepare_again(run, photos, network, progress, say)
        rows = checkpoint.load(prepared.state, run.folder, began)
        if rows or prepared.state.step:
            say(f"going on after {len(rows)} epochs and {prepared.state.step} of {len(prepared.train)} steps")
            _mend_metrics(run, rows, say)
            for note in notes(run, prepared.state.recipe, prepared.state.device):
                say(note)
        since = kept_epoch(run, prepared.state.recipe, len(rows), say)
        yield from _train(run, prepared, photos, rows, since, progress, say)
        _finish(run, prepared, photos, network, say)


@contextmanager
def _how_to_go_on(run: Run, say: Callable[[str], Any]) -> Iterator[None]:
    """Whatever stopped the run, the last checkpoint is whole; this says what to do with it."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"stopped; go on with: reslab resume {shlex.quote(str(run.folder))}")
        raise
    except TrainingError as error:
        kept = f"{run.folder} keeps its last good checkpoint"
        kept += ", and the best model so far" if (run.folder / MODEL_NAME).is_file() else ""
        raise TrainingError(error.what, error.why, f"{error.do}; {kept}") from error
    except (OSError, RunError) as error:
        again = f"go on with: reslab resume {shlex.quote(str(run.folder))}"
        if not run.folder.is_dir():
            why = "it was removed, renamed or unmounted while the run went on"
            raise RunError(
                f"{run.folder} is gone", why, f"bring it back and {again}; or start a new run"
            ) from error
        if isinstance(error, RunError) or error.filename is None:  # no file of ours: standard output, a bug
            raise
        why = f"{error.strerror}; the checkpoint before it is whole"
        do = f"make room or mend this, then {again}"
        raise RunError(f"{error.filename} could not be written", why, do) from error


def _mend_metrics(run: Run, rows: list[Epoch], say: Callable[[str], Any]) -> None:
    """What the checkpoint knows is written anew if the file has lost it."""
    try:
        if len(run.rows) >= len(rows):
            return
    except RunError as error:
        say(f"note: {error.what}: {error.why}; it is written anew from the checkpoint")
    _write_metrics(run, [row.as_json() for row in rows])


def _prepare_again(
    run: Run, photos: Photos, network: nn.Module | None, progress: bool, say: Callable[[str], Any]
) -> TrainingSetup:
    about, recipe = run.about, run.recipe
    if about["spec"] is not None:
        network = build(NetworkSpec(**about["spec"]), recipe)
    elif network is None:
        raise RunError(
            f"{run.folder} was begun with a network of your own: {about['network']}",
            "a run folder holds no code",
            f"in Python: reslab.resume({str(run.folder)!r}, network={about['network']}(...))",
        )
    check_photos(run, photos, say)
    name, measured = about["network"], MeasuredPrecision(**about["measured"])
    if recipe.precision != "auto":
        measured = replace(measured, precision=recipe.precision)
    found = find_again(network, photos, recipe, name=name, progress=progress)
    return prepare(network, found, recipe, measured=measured, name=name, progress=progress, say=say)


def _train(
    run: Run,
    prepared: TrainingSetup,
    photos: Photos,
    rows: list[Epoch],
    since: int,
    progress: bool,
    say: Callable[[str], Any],
) -> Iterator[Epoch]:
    state = prepared.state
    saved = time.monotonic()
    stream = training_loop(state, prepared.train, prepared.validate(progress))
    with stopping(say) as stop:
        with Curves(run, behind=bool(rows)) as curves, closing(stream):
            for event in _until_stopped(with_bars(stream, progress), stop):
                if isinstance(event, Epoch):
                    rows.append(event)
                    _keep(run, prepared, photos, rows, since)
                    curves.grown()
                else:
                    curves.refresh()
                due = time.monotonic() - saved > 60 * state.recipe.checkpoint_minutes
                if isinstance(event, Epoch) or due:
                    checkpoint.save(state, rows, run.folder)
                    saved = time.monotonic()
                if isinstance(event, Epoch):
                    yield event
            if stop.asked:
                checkpoint.save(state, rows, run.folder)
        if stop.asked:  # also while the last curves were drawn
            raise KeyboardInterrupt


def _until_stopped(stream: Iterator[Step | Epoch], stop: Stop) -> Iterator[Step | Epoch]:
    """The events of the loop, to its end or to the one in which a stop was asked for."""
    try:
        for event in stream:
            yield event
            if stop.asked:
                return
    except TrainingError:
        if not stop.asked:  # a signal to all our processes also ends those that prepare batches
            raise


def _keep(run: Run, prepared: TrainingSetup, photos: Photos, rows: list[Epoch], since: int) -> None:
    """The files that grow with every epoch; the same content if an epoch is done again after a kill."""
    table = [row.as_json() for row in rows]
    if best_of(table[since - 1 :]) is table[-1]:
        _classifier(prepared, photos, run, table[-1]).save(run.folder / MODEL_NAME)
    _write_metrics(run, table)


def _write_metrics(run: Run, table: list[dict[str, Any]]) -> None:
    files.write_json_lines(run.folder / "metrics.jsonl", map(files.add_checksum, table))


def _classifier(prepared: TrainingSetup, photos: Photos, run: Run, figures: dict[str, Any]) -> Classifier:
    spec = run.about["spec"]
    return Classifier(
        prepared.state.validated,
        photos.classes,
        prepared.preprocess.at(figures["size"]),
        None if spec is None else NetworkSpec(**spec),
        figures=figures,
        device=str(prepared.state.device),
    )


def _finish(
    run: Run, prepared: TrainingSetup, photos: Photos, network: nn.Module | None, say: Callable[[str], Any]
) -> None:
    """Calibrates the best model on val, reports once on test, and writes the result."""
    device = str(prepared.state.device)
    best = Classifier.load(run.folder, network=network, device=device)
    images = (batch.images for batch in prepared.val.epoch(size=best.preprocess.size))
    with translate_out_of_memory(prepared.state.recipe):
        logits = torch.cat(list(predict_logits(best.network, images, prepared.state.device))).numpy()
    labels = photos.val.labels.astype(np.int64)
    best = replace(best, temperature=fit_temperature(logits, labels))
    figures, unread = dict(best.figures), 0
    if photos.test:
        say(f"testing on {len(photos.test):,} photos that had no part in the training")
        test = best.evaluate(photos)
        say(f"test {test} (epoch {figures['epoch']}, chosen by validation)")
        unread = test.unread  # files that are gone, or bad, since the run began
        figures |= {"test_accuracy": test.accuracy, "test_interval": [test.accuracy_low, test.accuracy_high]}
    best = replace(best, figures=figures)
    best.save(run.folder / MODEL_NAME)
    skipped, replaced = run.skipped, prepared.state.replacements
    if skipped.total:
        say(str(skipped))
    if replaced.total:
        say(str(replaced))
    result = {
        "run": str(run.folder),
        "model": str(run.folder / MODEL_NAME),
        # one more than the checkpoint's if it was killed between the two and no time was left
        "epochs": len(run.rows),
        "best_epoch": figures["epoch"],
        "val_accuracy": figures["val_accuracy"],
        "test_accuracy": figures.get("test_accuracy"),
        "test_interval": figures.get("test_interval"),
        "test_unread": unread,
        "skipped": skipped.as_json(),
        "replaced": replaced.rows(),
    }
    files.write_json(run.folder / "result.json", files.add_checksum(result))
