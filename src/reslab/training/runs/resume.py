"""Continue a run from its checkpoint to its end. New and resumed runs take the same path."""

from __future__ import annotations

import shlex
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from reslab import files, locks
from reslab.errors import CodeNeededError, RunError, TrainingError
from reslab.evaluation.calibration import fit_temperature
from reslab.evaluation.classifier import Classifier
from reslab.evaluation.inference import predict_logits
from reslab.evaluation.intervals import few_photos_note
from reslab.evaluation.model_file import MODEL_NAME
from reslab.evaluation.rows import TEST_ROWS_NAME
from reslab.networks.registry import make_spec
from reslab.photos.folder.photos import Photos
from reslab.photos.loading.batch_checksums import ChecksummedBatches
from reslab.training.failures import translate_out_of_memory
from reslab.training.loop import Epoch, Step, training_loop
from reslab.training.progress import Say, with_bars
from reslab.training.setup import TrainingSetup, prepare, reopen_photos
from reslab.training.timing.precision_cache import MeasuredPrecision

from . import checkpoint
from .live_curves import LiveCurves
from .moved_photos import unpack_again
from .reproducibility import check_photos, first_epoch_to_compare, notes_on_changes
from .run import Run, best_epoch
from .start import build_network
from .stop_signals import StopRequest, stop_signals
from .tracking import Tracking


def train_epochs(
    run: Run,
    *,
    network: nn.Module | str | None = None,
    progress: bool = True,
    say: Say,
    checksums: Path | None = None,
) -> Iterator[Epoch]:
    """Train a run from its checkpoint to its end, yield each new epoch, and write the result.

    It writes metrics.jsonl, checkpoints, the best model and curves.png, then test.csv and result.json. A
    finished run is left as it is.

    Args:
        network: a new module of the same class, if the run was started with a module; or a text that names
            the user's file again, "my_block.py:MyBlock", if the run's network is from such a file.
        say: called with each line of text for people.
        checksums: file for the checksum of every training batch; by default none are written.

    Raises:
        RunError: the run is damaged or in use, its photos have changed, or a file cannot be written.
        NetworkError: the network is from a user's file, which `network` does not name or which has changed.
        TrainingError: the loss is not finite, or the memory is too small for a batch.
        KeyboardInterrupt: after Ctrl-C or SIGTERM. The checkpoint is of the last finished step.
    """
    if run.state == "finished":
        say(f"{run.folder} is finished: nothing to resume")
        return
    started = time.monotonic()
    with locks.only_process(run.folder), _advice_to_resume(run, say):
        files.remove_leftovers(run.folder)
        unpack_again(run)
        photos = run.photos
        if isinstance(network, str) and run.spec is None:
            network = make_spec(network, len(photos.classes)).build()
        setup = _prepare(run, photos, network, progress, say)
        if checksums is not None:
            setup = replace(setup, train=ChecksummedBatches(**vars(setup.train), file=checksums))
        epochs = checkpoint.load(setup.state, run.folder, started)
        if epochs or setup.state.step:
            say(f"resuming after {len(epochs)} epochs and {setup.state.step} of {len(setup.train)} steps")
            _restore_metrics(run, epochs, say)
            for note in notes_on_changes(run, setup.state.recipe, setup.state.device):
                say(note)
        first = first_epoch_to_compare(run, setup.state.recipe, len(epochs), say)
        with Tracking(run, epochs, say) as tracking:
            with closing(_train(run, setup, epochs, first, progress)) as trained:
                for epoch in trained:
                    tracking.log(epoch)
                    yield epoch
            _finish(run, setup, photos, network if isinstance(network, nn.Module) else None, say)


@contextmanager
def _advice_to_resume(run: Run, say: Say) -> Iterator[None]:
    """Add to errors inside the block how to resume the run.

    KeyboardInterrupt is raised again after a line to `say`. An OSError that names a file becomes a RunError,
    and so does any OSError after the run folder was removed.
    """
    resume = f"reslab resume {shlex.quote(str(run.folder))}"
    try:
        yield
    except KeyboardInterrupt:
        say(f"stopped; to resume: {resume}")
        raise
    except TrainingError as error:
        kept = f"{run.folder} keeps its last good checkpoint"
        kept += ", and the best model so far" if (run.folder / MODEL_NAME).is_file() else ""
        raise type(error)(error.what, error.why, f"{error.do}; {kept}") from error
    except (OSError, RunError) as error:
        if not run.folder.is_dir():
            why = "it was removed, renamed or unmounted during the run"
            do = f"restore it and resume: {resume}; or start a new run"
            raise RunError(f"{run.folder} is missing", why, do) from error
        if isinstance(error, RunError) or error.filename is None:  # not a file of the run
            raise
        why = f"{error.strerror}; the last checkpoint is complete"
        do = f"make room or fix the cause, then resume: {resume}"
        raise RunError(f"{error.filename} could not be written", why, do) from error


def _restore_metrics(run: Run, epochs: list[Epoch], say: Say) -> None:
    """Write metrics.jsonl again if it is damaged, with a note to `say`, or lacks epochs of the checkpoint."""
    try:
        if len(run.rows) >= len(epochs):
            return
    except RunError as error:
        say(f"note: {error.what}: {error.why}; it is restored from the checkpoint")
    _write_metrics(run, [epoch.as_json() for epoch in epochs])


def _prepare(
    run: Run, photos: Photos, network: nn.Module | str | None, progress: bool, say: Say
) -> TrainingSetup:
    about, recipe, spec = run.about, run.recipe, run.spec
    if spec is not None and not isinstance(network, nn.Module):
        if network is not None:
            spec.use_file(network)
        try:
            network = build_network(spec, recipe)
        except CodeNeededError as error:
            call = f"reslab.resume({str(run.folder)!r}, network={error.network!r})"
            do = f"name the file again: {call}"
            raise CodeNeededError(f"{run.folder}: {error.what}", error.why, do, error.network) from error
    elif not isinstance(network, nn.Module):
        raise RunError(
            f"{run.folder} was started with a network of your own: {about['network']}",
            "a run folder contains no code",
            f"in Python: reslab.resume({str(run.folder)!r}, network={about['network']}(...))",
        )
    check_photos(run, photos, say)
    name, measured = about["network"], MeasuredPrecision(**about["measured"])
    if recipe.precision != "auto":
        measured = replace(measured, precision=recipe.precision)
    readable = reopen_photos(network, photos, recipe, name=name, progress=progress)
    return prepare(network, readable, recipe, measured=measured, name=name, progress=progress, say=say)


def _train(
    run: Run, setup: TrainingSetup, epochs: list[Epoch], first_to_compare: int, progress: bool
) -> Generator[Epoch, None, None]:
    state = setup.state
    saved = time.monotonic()
    events = training_loop(state, setup.train, setup.validate(progress))
    with stop_signals() as stop:
        with LiveCurves(run, outdated=bool(epochs)) as curves, closing(events):
            for event in _until_stopped(with_bars(events, progress), stop):
                if isinstance(event, Epoch):
                    epochs.append(event)
                    _save_epoch(run, setup, epochs, first_to_compare)
                    curves.add_epoch()
                else:
                    curves.refresh()
                due = time.monotonic() - saved > 60 * state.recipe.checkpoint_minutes
                if isinstance(event, Epoch) or due:
                    checkpoint.save(state, epochs, run.folder)
                    saved = time.monotonic()
                if isinstance(event, Epoch):
                    yield event
            if stop.received:
                checkpoint.save(state, epochs, run.folder)
        if stop.received:  # the signal may have arrived while the last curves were drawn
            raise KeyboardInterrupt


def _until_stopped(events: Iterator[Step | Epoch], stop: StopRequest) -> Iterator[Step | Epoch]:
    """Yield the events up to the one after which a stop was requested. A TrainingError then is ignored."""
    try:
        for event in events:
            yield event
            if stop.received:
                return
    except TrainingError:
        if not stop.received:  # a signal to the process group also ends the workers
            raise


def _save_epoch(run: Run, setup: TrainingSetup, epochs: list[Epoch], first_to_compare: int) -> None:
    """Write metrics.jsonl, and the model file if the last epoch is the best from `first_to_compare` on.

    An epoch repeated after a kill writes the same.

    Args:
        epochs: all finished epochs of the run.
        first_to_compare: number of an epoch, from 1.
    """
    rows = [epoch.as_json() for epoch in epochs]
    if best_epoch(rows[first_to_compare - 1 :]) is rows[-1]:
        about, figures = run.about, rows[-1]
        Classifier(
            setup.state.validated,
            tuple(about["classes"]),
            setup.preprocess.at(figures["size"]),
            run.spec,
            figures=figures,
            device=str(setup.state.device),
        ).save(run.folder / MODEL_NAME)
    _write_metrics(run, rows)


def _write_metrics(run: Run, rows: list[dict[str, Any]]) -> None:
    files.write_json_lines(run.folder / "metrics.jsonl", map(files.add_checksum, rows))


def _finish(run: Run, setup: TrainingSetup, photos: Photos, network: nn.Module | None, say: Say) -> None:
    """Calibrate the best model on val, evaluate it once on test, and write the results.

    These are the model file, test.csv with a row per test photo, and result.json. Without test photos there
    is no test.csv, and the test's figures are None.

    Args:
        network: takes the best weights, in place, if the run was started with a module.
    """
    best = Classifier.load(run.folder, network=network, device=str(setup.state.device))
    images = (batch.images for batch in setup.val.epoch(size=best.preprocess.size))
    with translate_out_of_memory(setup.state.recipe):
        logits = torch.cat(list(predict_logits(best.network, images, setup.state.device))).numpy()
    labels = photos.val.labels.astype(np.int64)
    best = replace(best, temperature=fit_temperature(logits, labels))
    figures, unread = dict(best.figures), 0
    if photos.test:
        say(f"testing on {len(photos.test):,} photos that were not used in training")
        test = best.evaluate(photos)
        test.rows.write(run.folder / TEST_ROWS_NAME)
        say(f"test {test} (epoch {figures['epoch']}, chosen by validation)")
        if note := few_photos_note(test.accuracy, test.photos):
            say(note)
        unread = test.unread  # photos that were removed or damaged since the start of the run
        interval = [test.accuracy_low, test.accuracy_high]
        figures |= {"test_accuracy": test.accuracy, "test_interval": interval, "test_photos": test.photos}
    replace(best, figures=figures).save(run.folder / MODEL_NAME)
    skipped, replacements = run.skipped, setup.state.replacements
    if skipped.total:
        say(str(skipped))
    if replacements.total:
        say(str(replacements))
    result = {
        "run": str(run.folder),
        "model": str(run.folder / MODEL_NAME),
        # one more than in the checkpoint if the run was killed between the two and no time was left
        "epochs": len(run.rows),
        "best_epoch": figures["epoch"],
        "val_accuracy": figures["val_accuracy"],
        "test_accuracy": figures.get("test_accuracy"),
        "test_interval": figures.get("test_interval"),
        "test_photos": figures.get("test_photos"),
        "test_unread": unread,
        "skipped": skipped.as_json(),
        "replaced": replacements.rows(),
    }
    files.write_json(run.folder / "result.json", files.add_checksum(result))
