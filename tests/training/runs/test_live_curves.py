"""LiveCurves: curves.png has every epoch when a run stops, and takes little time during training."""

import logging
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from reslab import History, Recipe, Run, resume
from reslab.errors import TrainingError
from reslab.training.runs import checkpoint
from reslab.training.runs import live_curves as curves
from reslab.training.runs.live_curves import FIRST_DRAWING_S, PAUSE_PER_DRAWING, LiveCurves
from reslab.training.runs.resume import train_epochs
from reslab.training.runs.start import start_run

NAME = "curves.png"


class Hours:
    """A fake clock on which a drawing takes `drawing` seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, drawing: float) -> None:
        self.now, self.drawn, self.drawing = 1000.0, 0, drawing

        def timed(history: object) -> bytes:
            self.now += drawing
            self.drawn += 1
            return b"a figure"

        monkeypatch.setattr(curves, "_figure", timed)
        monkeypatch.setattr(curves.time, "monotonic", lambda: self.now)

    def share(self) -> float:
        """Of all the time, that of the drawings."""
        return self.drawing * self.drawn / (self.now - 1000.0)


@pytest.fixture
def run(finished: Run, tmp_path: Path) -> Run:
    """A finished run without its curves.png."""
    run = Run(shutil.copytree(finished.folder, tmp_path / "run"))
    (run.folder / NAME).unlink()
    return run


def start(photos: Path, run: Path, recipe: Recipe) -> Run:
    return start_run(photos, "cifar_resnet20", recipe, weights=None, run=run, progress=False, say=str)


def stopped_by(error: BaseException, run: Run) -> None:
    with LiveCurves(run) as shown:
        shown.add_epoch()
        raise error


def drawn_anew(run: Run, folder: Path) -> bytes:
    """The picture of what the run's metrics hold now."""
    copy = Run(shutil.copytree(run.folder, folder / "copy", dirs_exist_ok=True))
    with LiveCurves(copy, outdated=True):
        pass
    return (copy.folder / NAME).read_bytes()


def test_fast_epochs_share_a_drawing_and_slow_ones_have_their_own(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours = Hours(monkeypatch, drawing=0.5)
    with LiveCurves(run) as shown:
        for _ in range(int(PAUSE_PER_DRAWING * FIRST_DRAWING_S)):  # one second each
            assert not (run.folder / NAME).exists()
            hours.now += 1.0
            shown.add_epoch()
            shown.refresh()
        assert (run.folder / NAME).read_bytes() == b"a figure"
        assert hours.drawn == 1
        for _ in range(1000):
            hours.now += 1.0
            shown.add_epoch()
            shown.refresh()
        assert 0.8 / PAUSE_PER_DRAWING < hours.share() <= 1 / PAUSE_PER_DRAWING
        before = hours.drawn
        for _ in range(7):
            hours.now += 60.0
            shown.add_epoch()
            shown.refresh()
        assert hours.drawn == before + 7
    assert hours.drawn == before + 7  # nothing is left to draw


def test_a_slow_drawing_waits_for_longer(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    hours = Hours(monkeypatch, drawing=3.0)
    with LiveCurves(run) as shown:
        for _ in range(1000):
            hours.now += 12.0
            shown.add_epoch()
            shown.refresh()
            shown.refresh()  # a step that brings nothing new
        assert 0.8 / PAUSE_PER_DRAWING < hours.share() <= 1 / PAUSE_PER_DRAWING


@pytest.mark.slow
def test_a_training_of_fast_epochs_is_drawn_once_and_completely(
    small: Recipe, photo_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = []
    draw = curves._figure
    monkeypatch.setattr(curves, "_figure", lambda history: pictures.append(history) or draw(history))
    run = start(photo_folder(train=20), tmp_path / "run", small)
    for _ in train_epochs(run, progress=False, say=str):
        assert not (run.folder / NAME).exists()
    assert len(pictures) == 1
    assert [len(metric.data) for metric in (pictures[0]["train_loss"], pictures[0]["val_accuracy"])] == [2, 2]
    assert (run.folder / NAME).read_bytes() == drawn_anew(run, tmp_path)
    assert Image.open(run.folder / NAME).size[0] > 500


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), TrainingError("the loss is nan", "why", "do"), GeneratorExit()]
)
def test_a_stopped_training_draws_all_its_epochs(error: BaseException, run: Run, tmp_path: Path) -> None:
    with pytest.raises(type(error)):
        stopped_by(error, run)
    assert (run.folder / NAME).read_bytes() == drawn_anew(run, tmp_path)


@pytest.mark.slow
def test_ctrl_c_draws_the_curves_and_a_resumed_run_draws_missing_ones(
    small: Recipe, photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    run = start(photo_folder(train=20), tmp_path / "run", small)
    epochs = train_epochs(run, progress=False, say=str)
    next(epochs)
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        list(epochs)
    assert (run.folder / NAME).read_bytes() == drawn_anew(run, tmp_path)
    for _ in train_epochs(run, progress=False, say=str):
        pass
    (run.folder / "result.json").unlink()
    (run.folder / NAME).unlink()  # as if it had been killed after its last checkpoint
    resume(run, progress=False, say=str)
    assert (run.folder / NAME).read_bytes() == drawn_anew(run, tmp_path)


@pytest.mark.slow
def test_drawing_does_not_count_as_time_of_an_epoch(
    small: Recipe, photo_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of a given time plans by what its last epochs took."""
    monkeypatch.setattr(curves, "FIRST_DRAWING_S", -1.0)  # due at once
    draw, drawn = curves._figure, []

    def slow(history: History) -> bytes:
        drawn.append(len(history.steps))
        time.sleep(5.0 if len(drawn) == 1 else 0.0)
        return draw(history)

    monkeypatch.setattr(curves, "_figure", slow)
    run = start(photo_folder(train=20), tmp_path / "run", small.with_settings(epochs=3, checkpoint_minutes=9))
    for _ in train_epochs(run, progress=False, say=str):
        pass
    assert drawn == [1, 3]
    past = checkpoint.read(run.folder)[0].past_epochs
    assert [plan.seconds < 5.0 for plan in past] == [True, True, True]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_last_drawing_stops_before_the_test(
    number: signal.Signals,
    small: Recipe,
    photo_folder: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    outcome: Callable[[Run], dict[str, Any]],
) -> None:
    photos, lines, draw = photo_folder(train=20, test=4), [], curves._figure
    calm = resume(start(photos, tmp_path / "calm", small), progress=False, say=str)

    def interrupted(history: object) -> bytes:
        signal.raise_signal(number)
        return b""

    run = start(photos, tmp_path / "run", small)
    monkeypatch.setattr(curves, "_figure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        resume(run, progress=False, say=lines.append)
    monkeypatch.setattr(curves, "_figure", draw)
    assert lines[-1] == f"stopped; to resume: reslab resume {run.folder}"
    assert run.state == "interrupted"
    resume(run, progress=False, say=str)
    assert outcome(run) == outcome(calm)
    assert (run.folder / NAME).read_bytes() == drawn_anew(run, tmp_path)


def test_a_figure_that_cannot_be_drawn_does_not_hide_the_first_error(
    run: Run, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OSError, match="full"):
        stopped_by(OSError("full"), run)
    assert not caplog.records
    assert not (run.folder / NAME).exists()
    (run.folder / "metrics.jsonl").write_text("{")
    with caplog.at_level(logging.WARNING), pytest.raises(KeyboardInterrupt):
        stopped_by(KeyboardInterrupt(), run)
    (run.folder / "metrics.jsonl").unlink()
    with caplog.at_level(logging.WARNING), pytest.raises(TrainingError):
        stopped_by(TrainingError("the loss is nan", "why", "do"), run)
    record, other = caplog.records
    assert other.getMessage().startswith("curves.png was not drawn: ")
    assert record.getMessage().startswith("curves.png was not drawn: ")
    assert "metrics.jsonl" in record.getMessage()
