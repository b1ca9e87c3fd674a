"""History: logging metrics, and saving them as JSON."""

import itertools
import json
import math
import pickle
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reslab.errors import ReslabError, UsageError
from reslab.plots.history import History, UnknownMetricError

NAMES = st.sampled_from(["train_loss", "val_loss", "accuracy", "größe", "a b"])
NUMBERS = st.floats() | st.integers(-(2**53), 2**53) | st.none()
STEPS = st.integers() | st.integers(min_value=0)
PAIRS = st.tuples(st.integers(0, 99), st.integers(0, 9999))
LOGS = st.one_of(
    st.lists(st.tuples(steps, st.dictionaries(NAMES, NUMBERS)), min_size=1) for steps in (STEPS, PAIRS)
)


def same(one: Any, other: Any) -> bool:
    """Compare rows; NaN equals NaN, and 1 does not equal 1.0."""
    return repr(one) == repr(other)


@given(LOGS)
@settings(max_examples=60, deadline=None)
def test_a_saved_history_is_loaded_unchanged(logs: list[tuple[Any, dict[str, Any]]]) -> None:
    history = History()
    for step, metrics in logs:
        history.log(step, **metrics)
    with TemporaryDirectory() as folder:
        file = Path(folder, "history.json")
        history.save(file)
        json.loads(file.read_text(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
        loaded = History()
        loaded.log((1, 2), forgotten=1)
        loaded.load(file)
    assert same(loaded.rows(), history.rows())
    assert loaded.metrics == history.metrics
    assert loaded.step == max(step for step, _ in logs)
    assert loaded.get_total_time() == history.get_total_time()
    assert same(History.from_rows(history.rows()).rows(), history.rows())


def test_a_metric_has_the_steps_at_which_it_was_logged() -> None:
    history = History()
    for epoch in (3, 1, 2):
        history.log(epoch, train_loss=epoch / 10)
    history.log(3, val_loss=0.5)
    history.log(3, train_loss=0.7)
    assert history["train_loss"].steps == [1, 2, 3]
    np.testing.assert_array_equal(history["train_loss"].data, [0.1, 0.2, 0.7])
    assert (history["val_loss"].name, history["val_loss"].steps) == ("val_loss", [3])
    assert (history.step, history.steps, history.metrics) == (3, [1, 2, 3], {"train_loss", "val_loss"})
    assert history.rows()[2] == {"step": 3, "train_loss": 0.7, "val_loss": 0.5}


def test_pairs_are_ordered_by_epoch_then_step() -> None:
    history = History()
    for step in ((1, 5), (0, 100), (1, 0), (np.int64(0), np.int64(20))):
        history.log(step, loss=1)
    assert history.steps == [(0, 20), (0, 100), (1, 0), (1, 5)]
    assert history["loss"].formatted_steps == history.formatted_steps == ["0:20", "0:100", "1:0", "1:5"]


def test_scalars_of_every_kind_become_numbers() -> None:
    weight = torch.tensor(0.5, requires_grad=True)
    values = [0.5, np.float32(0.5), np.array([[0.5]]), weight, weight * 1, weight.bfloat16(), weight[None]]
    history = History()
    for step, value in enumerate(values):
        history.log(step, x=value)
    assert all(type(row["x"]) is float and row["x"] == 0.5 for row in history.rows())
    counts = History.from_rows([{"step": 1, "n": np.int32(7)}, {"step": 2, "n": torch.tensor(7)}]).rows()
    assert [type(row["n"]) for row in counts] == [int, int]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_tensor_on_the_gpu_is_logged() -> None:
    history = History()
    history.log(1, loss=torch.tensor(0.25, device="cuda", requires_grad=True))
    assert history.rows() == [{"step": 1, "loss": 0.25}]


def test_nan_is_kept_and_none_is_not_a_value() -> None:
    history = History()
    history.log(1, loss=float("nan"), val_loss=None)
    history.log(2, loss=1.0)
    np.testing.assert_array_equal(history["loss"].data, [math.nan, 1.0])
    assert history["val_loss"].steps == []
    assert history["val_loss"].data.shape == (0,)


def test_arrays_are_copied_saved_and_loaded(tmp_path: Path) -> None:
    weights, image = torch.zeros(2, 3), np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    history = History()
    history.log(1, weights=weights, image=image, odd=np.ones((2, 2)))
    weights += 1
    image[:] = 0
    history.log(2, weights=weights, odd=np.ones((3, 2)))
    history.save(tmp_path / "history.json")
    loaded = History()
    loaded.load(tmp_path / "history.json")
    np.testing.assert_array_equal(loaded["weights"].data, [np.zeros((2, 3)), np.ones((2, 3))])
    np.testing.assert_array_equal(loaded["image"].data[0], np.arange(12).reshape(2, 2, 3))
    assert (loaded["weights"].data.dtype, loaded["image"].data.dtype) == (np.float32, np.uint8)
    assert [value.shape for value in loaded["odd"].data] == [(2, 2), (3, 2)]


def test_the_error_for_an_unknown_metric_shows_the_known_ones() -> None:
    history = History()
    with pytest.raises(KeyError, match="nothing has been logged yet"):
        history["loss"]
    history.log(1, train_loss=1.0, val_loss=2.0)
    with pytest.raises(
        UnknownMetricError, match="did you mean 'val_loss'\\? known: train_loss, val_loss"
    ) as caught:
        history["vall_loss"]
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, ReslabError)


@pytest.mark.parametrize("step", [1.5, "1", (1,), (1, 2, 3), (1, 2.5), None])
def test_invalid_steps_are_refused(step: Any) -> None:
    with pytest.raises(UsageError, match="is not a step"):
        History().log(step, loss=1.0)


def test_ints_and_pairs_do_not_mix() -> None:
    history = History()
    history.log(1, loss=1.0)
    with pytest.raises(UsageError, match="step 1:2 cannot follow step 1"):
        history.log((1, 2), loss=1.0)


@pytest.mark.parametrize("value", ["0.5", [], [[1], [1, 2]], 1j, object(), {"a": 1}])
def test_invalid_values_are_refused_and_nothing_is_logged(value: Any) -> None:
    history = History()
    with pytest.raises(UsageError, match="loss cannot be logged"):
        history.log(1, first=1.0, loss=value)
    assert (history.step, history.rows(), history.metrics) == (None, [], set())


def test_rows_without_a_step_are_refused() -> None:
    with pytest.raises(UsageError, match='row 2 has no "step"'):
        History.from_rows([{"step": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}])


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_pickle_or_damaged_file_is_refused_and_the_history_unchanged(tmp_path: Path) -> None:
    pickled, trapped = tmp_path / "history.pkl", tmp_path / "trapped"
    pickled.write_bytes(pickle.dumps(Trap(trapped)))
    history = History()
    history.log(1, loss=1.0)
    row = b'{"format": "reslab history 1", "rows": [%s]}'
    huge = b'{"step": 1, "time": 1%s, "metrics": {"loss": 1.0}}' % (b"0" * 400)
    for content in (pickled.read_bytes(), b"", b"{}", b"[1]", row % b"1", row % huge, b"[" * 100_000):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(UsageError, match="is not a saved history"):
            history.load(tmp_path / "file")
    assert not trapped.exists()
    assert history.rows() == [{"step": 1, "loss": 1.0}]
    with pytest.raises(FileNotFoundError):
        history.load(tmp_path / "missing.json")


def test_progress_summary_and_time(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    history = History()
    history.progress()
    for step, moment in ((1, 1000.0), (2, 1061.5)):
        monkeypatch.setattr("time.time", lambda moment=moment: moment)
        history.log(step, loss=1 / 3, image=np.zeros((2, 2)))
    history.progress()
    history.summary()
    assert history.get_total_time() == timedelta(seconds=61.5)
    assert capsys.readouterr().out.splitlines() == [
        "Nothing logged yet",
        "Step 2:  loss: 0.3333",
        "Last Step: 2",
        "Training Time: 0:01:01.500000",
    ]
    clock = itertools.count()
    monkeypatch.setattr("time.time", lambda: float(next(clock)))
    assert History.from_rows(history.rows()).get_total_time() == timedelta(0)


def test_logging_imports_neither_torch_nor_matplotlib() -> None:
    program = """
import sys
from reslab.plots.history import History
from reslab.plots.canvas import Canvas
with Canvas() as canvas:
    history = History()
    history.log(1, loss=1.0)
    canvas.draw_plot(history["loss"])
print([name for name in ("torch", "matplotlib", "plotext", "IPython") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
