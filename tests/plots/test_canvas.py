"""Canvas in a notebook, in a pseudo-terminal and in a file."""

import base64
import fcntl
import io
import math
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import textwrap
from pathlib import Path

import matplotlib as mpl
import nbformat
import numpy as np
import pytest
from matplotlib.axes import Axes
from nbclient import NotebookClient
from PIL import Image

from reslab.errors import UsageError
from reslab.plots.canvas import Canvas
from reslab.plots.figure import TRAINING_STYLES, VALIDATION_STYLES, Panel
from reslab.plots.history import History, Metric
from reslab.plots.terminal import draw_lines

LOOP = """
from reslab.plots.history import History
from reslab.plots.canvas import Canvas
history, canvas = History(), Canvas()
for epoch in range(1, 6):
    history.log(epoch, train_loss=1 / epoch, val_loss=0.3 + 1 / epoch, accuracy=1 - 0.5 / epoch)
    with canvas:
        canvas.draw_plot([history["train_loss"], history["val_loss"]])
        canvas.draw_plot([history["accuracy"]], labels=["Accuracy"])
"""


def trained(epochs: int = 6, lift: float = 0.0) -> History:
    history = History()
    for epoch in range(1, epochs + 1):
        history.log(
            epoch, train_loss=1 / epoch + lift, val_loss=0.3 + 1 / epoch, val_accuracy=1 - 0.5 / epoch
        )
    return history


def draw_losses(canvas: Canvas, history: History) -> Canvas:
    with canvas:
        canvas.draw_plot([history["train_loss"], history["val_loss"]])
    return canvas


def axes_of(*metrics: Metric, ylabel: str = "") -> Axes:
    canvas = Canvas()
    with canvas:
        canvas.draw_plot(metrics, ylabel=ylabel)
    (axes,) = canvas.figure.axes
    return axes


def ticks_of(axes: Axes) -> list[str]:
    axes.figure.canvas.draw()
    low, high = axes.get_xlim()
    places = zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
    return [label.get_text() for place, label in places if low <= place <= high]


# The file


def test_the_file_has_the_documented_size_and_follows_the_data(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "curves.png"
    canvas, pictures = Canvas(path), []
    for history in (trained(), trained(lift=0.2), trained()):
        with canvas:
            canvas.draw_plot([history["train_loss"], history["val_loss"]])
            canvas.draw_plot([history["val_accuracy"]])
        pictures.append(np.asarray(Image.open(path)))
    assert pictures[0].shape[:2] == (540, 2 * 750)
    assert (pictures[0] != pictures[1]).any()
    np.testing.assert_array_equal(pictures[0], pictures[2])
    assert [file.name for file in path.parent.iterdir()] == ["curves.png"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("panels", "size"), [(1, (750, 540)), (3, (2250, 540)), (4, (1500, 1080)), (5, (1500, 1620))]
)
def test_up_to_three_panels_are_side_by_side_and_more_in_rows_of_two(
    panels: int, size: tuple[int, int], tmp_path: Path
) -> None:
    history = trained()
    with Canvas(tmp_path / "curves.png") as canvas:
        for _ in range(panels):
            canvas.draw_plot(history["train_loss"])
    assert Image.open(tmp_path / "curves.png").size == size
    assert len(canvas.figure.axes) == panels


@pytest.mark.parametrize(("name", "start"), [("a.svg", b"<?xml"), ("a.PDF", b"%PDF")])
def test_svg_and_pdf_files(name: str, start: bytes, tmp_path: Path) -> None:
    draw_losses(Canvas(), trained()).save(tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be written to curves\.bmp"):
        Canvas("curves.bmp")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        draw_losses(Canvas(tmp_path / "file" / "curves.png"), trained())
    with pytest.raises(UsageError, match="nothing has been drawn yet"):
        Canvas().save(tmp_path / "empty.png")


@pytest.mark.slow
def test_the_users_matplotlib_settings_are_unchanged(tmp_path: Path) -> None:
    program = """
    import sys, matplotlib
    matplotlib.rcParams["font.size"] = 7
    before = dict(matplotlib.rcParams)
    exec(sys.argv[1].replace("Canvas()", "Canvas(sys.argv[2])"))
    print(dict(matplotlib.rcParams) == before, "matplotlib.pyplot" in sys.modules)
    """
    program = textwrap.dedent(program)
    done = subprocess.run(
        [sys.executable, "-c", program, LOOP, str(tmp_path / "a.png")],
        env={**os.environ, "MPLBACKEND": "tkagg", "DISPLAY": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "True False\n"  # nothing else goes into a pipe
    assert Image.open(tmp_path / "a.png").size == (1500, 540)


# What a panel shows


def test_training_and_validation_differ_without_color() -> None:
    history = trained()
    training, validation = axes_of(history["val_loss"], history["train_loss"]).lines[::-1]
    assert (training.get_linestyle(), training.get_marker()) == ("-", "o")
    assert (validation.get_linestyle(), validation.get_marker()) == ("--", "s")
    (alone,) = axes_of(history["val_accuracy"]).lines
    assert (alone.get_linestyle(), alone.get_marker()) == ("--", "s")


def test_styles_differ_and_the_main_two_differ_in_gray() -> None:
    styles = TRAINING_STYLES + VALIDATION_STYLES
    assert len({(style.line, style.marker) for style in styles}) == len(styles)
    assert len({style.terminal_point for style in styles}) == len(styles)
    gray = [
        np.dot(mpl.colors.to_rgb(pool[0].color), (0.299, 0.587, 0.114))
        for pool in (TRAINING_STYLES, VALIDATION_STYLES)
    ]
    assert gray[0] < 0.3 < 0.5 < gray[1] < 0.7


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("train_loss", "val_loss"), "loss"),
        (("accuracy", "val_accuracy"), "accuracy"),
        (("learning_rate",), "learning_rate"),
        (("train_loss", "val_accuracy"), "value"),
    ],
)
def test_the_y_axis_has_a_name(names: tuple[str, ...], expected: str) -> None:
    metrics = [Metric(name, np.ones(2), [1, 2]) for name in names]
    assert axes_of(*metrics).get_ylabel() == expected
    assert axes_of(*metrics, ylabel="mine").get_ylabel() == "mine"


def test_the_legend_has_the_labels_and_the_last_values() -> None:
    history = trained()
    with Canvas() as canvas:
        canvas.draw_plot([history["train_loss"], history["val_loss"]], labels=["Train", "Validation"])
    (axes,) = canvas.figure.axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "Train  0.1667",
        "Validation  0.4667",
    ]


@pytest.mark.parametrize("epochs", [1, 2, 3, 12, 999])
def test_ticks_of_epochs_are_integers(epochs: int) -> None:
    axes = axes_of(Metric("loss", np.ones(epochs), list(range(1, epochs + 1))))
    assert axes.get_xlabel() == "epoch"
    ticks = ticks_of(axes)
    assert ticks
    assert all(re.fullmatch(r"\d+", tick.replace("\N{MINUS SIGN}", "")) for tick in ticks)


def test_other_steps_are_named_step_and_pairs_epoch_step() -> None:
    assert axes_of(Metric("loss", np.ones(3), [0, 100, 200])).get_xlabel() == "step"
    assert axes_of(Metric("loss", np.ones(5000), list(range(5000)))).get_xlabel() == "step"
    late = Metric("val_loss", np.ones(1), [(1, 9)])
    axes = axes_of(Metric("loss", np.ones(3), [(0, 0), (0, 9), (1, 0)]), late)
    assert axes.get_xlabel() == "epoch:step"
    assert ticks_of(axes) == ["0:0", "0:9", "1:0", "1:9"]
    np.testing.assert_array_equal(axes.lines[1].get_xdata(), [3])


def test_isolated_points_have_markers_and_gaps_are_not_connected() -> None:
    values = np.full(301, math.nan)
    values[[77, 290]] = 1.0, 2.0
    (line,) = axes_of(Metric("loss", values, list(range(301)))).lines
    assert set(line.get_markevery()) == {77, 290}
    (line,) = axes_of(Metric("loss", np.array([1.0, math.inf, 2.0]), [1, 2, 3])).lines
    np.testing.assert_array_equal(line.get_ydata(), [1.0, math.nan, 2.0])


def test_a_long_curve_has_few_markers_and_one_at_the_last_point() -> None:
    metric = Metric("loss", np.arange(300.0), list(range(300)))
    marks = axes_of(metric).lines[0].get_markevery()
    assert 20 <= len(marks) <= 26
    assert marks[-1] == 299
    drawn = draw_lines([Panel("plot", (metric,), ("loss",))], "", 80, 20, color=False)
    assert 10 <= "".join(drawn[1:]).count("●") <= 20


def test_a_panel_without_values_shows_a_message() -> None:
    history = History()
    history.log(1, loss=None, bad=math.nan)
    assert [text.get_text() for text in axes_of(history["loss"]).texts] == ["no values yet"]
    assert [text.get_text() for text in axes_of().texts] == ["no values yet"]
    assert [text.get_text() for text in axes_of(history["bad"]).texts] == ["no finite values"]
    assert [text.get_text() for text in axes_of(trained()["val_loss"]).texts] == []


def test_images_are_the_latest_with_their_colors() -> None:
    history = History()
    for epoch in range(1, 5):
        image = np.zeros((3, 8, 6), np.uint8)  # (C, H, W)
        image[epoch % 3] = 255
        history.log(epoch, image=image, gray=np.full((4, 4), float(epoch)))
    with Canvas() as canvas:
        canvas.draw_image(history["image"], limit=3)
        canvas.draw_image(history["gray"])
        canvas.draw_summary(history, title="Four epochs")
    axes = canvas.figure.axes
    assert [axis.get_title() for axis in axes] == ["2", "3", "4", "1", "2", "3", "4"]
    shown = [axis.images[0].get_array() for axis in axes[:3]]
    assert [array.shape for array in shown] == [(8, 6, 3)] * 3
    assert [int(array[0, 0].argmax()) for array in shown] == [2, 0, 1]
    assert canvas.figure.get_suptitle() == "Four epochs\nStep: 4      Time: 0:00:00"


def test_histograms_count_every_finite_value() -> None:
    history = History()
    for epoch in range(1, 13):
        history.log(epoch, weights=np.append(np.arange(9.0), math.nan), loss=1 / epoch)
    with Canvas() as canvas:
        canvas.draw_hist(history["loss"], title="Losses")
        canvas.draw_hist(history["weights"])
    numbers, arrays = canvas.figure.axes
    assert numbers.get_title(loc="left") == "Losses"
    assert numbers.patches[0].get_data().values.sum() == 12
    assert [label.get_text() for label in arrays.get_yticklabels()] == [str(epoch) for epoch in range(3, 13)]


# The block


def test_drawing_outside_the_block_is_refused() -> None:
    history, canvas = trained(), Canvas()
    history.log(7, image=np.zeros((2, 2)))
    for attempt in (
        lambda: canvas.draw_plot([history["train_loss"]]),
        lambda: canvas.draw_image(history["image"]),
        lambda: canvas.draw_hist(history["train_loss"]),
        lambda: canvas.draw_summary(history),
    ):
        with pytest.raises(UsageError, match="with canvas:\n +canvas.draw_plot"):
            attempt()
    draw_losses(canvas, history)
    with pytest.raises(UsageError, match="with canvas:"):
        canvas.draw_plot([history["train_loss"]])


def test_after_an_error_in_the_block_nothing_is_drawn(tmp_path: Path) -> None:
    canvas, error = Canvas(tmp_path / "a.png"), ZeroDivisionError("mine")

    def block() -> None:
        with canvas:
            canvas.draw_plot(trained()["train_loss"])
            raise error

    with pytest.raises(ZeroDivisionError) as caught:
        block()
    assert caught.value is error
    assert error.__context__ is None
    assert list(tmp_path.iterdir()) == []
    draw_losses(canvas, trained())
    assert len(canvas.figure.axes) == 1


def test_metrics_that_do_not_fit_a_panel_are_refused() -> None:
    history, pairs = trained(), History()
    history.log(7, image=np.zeros((2, 2)), features=np.zeros((64, 28, 28)))
    pairs.log((1, 1), loss=1.0)
    with Canvas() as canvas:
        with pytest.raises(UsageError, match="1 labels for 2 metrics"):
            canvas.draw_plot([history["train_loss"], history["val_loss"]], labels=["one"])
        with pytest.raises(UsageError, match="image holds arrays"):
            canvas.draw_plot(history["image"])
        with pytest.raises(UsageError, match="train_loss holds no images"):
            canvas.draw_image(history["train_loss"])
        with pytest.raises(UsageError, match="features holds no images"):
            canvas.draw_image(history["features"])
        with pytest.raises(UsageError, match="do not fit one panel"):
            canvas.draw_plot([history["train_loss"], pairs["loss"]])


# The notebook


@pytest.mark.slow
def test_a_notebook_has_one_figure_per_cell_updated_in_place(tmp_path: Path) -> None:
    again = LOOP[LOOP.index("for epoch") :]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in (LOOP, again)])
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
    pictures = []
    for cell in notebook.cells:
        (output,) = cell.outputs
        assert output.output_type == "display_data"
        assert output.data["text/plain"] == "train_loss  0.2000, val_loss  0.5000, Accuracy  0.9000"
        assert output.metadata["image/png"] == {"width": 960, "height": 346}
        pictures.append(Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))))
    assert [picture.size for picture in pictures] == [(1500, 540)] * 2
    # the first cell shows its last epoch
    np.testing.assert_array_equal(np.asarray(pictures[0]), np.asarray(pictures[1]))


# The terminal


def run_in_terminal(program: str, columns: int = 80, lines: int = 24, **environment: str) -> str:
    """Return the output of a program in a pseudo-terminal of this size."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    known = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS", "LINES")}
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=theirs,
        env={**known, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", **environment},
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other side has closed (Linux)
            break
        if not part:
            break
        written += part
    os.close(ours)
    assert process.wait() == 0
    return written.decode()


def screen(written: str, columns: int, lines: int) -> list[str]:
    """Return the final screen after the escape codes that Canvas uses."""
    rows, row, column = [[" "] * columns for _ in range(lines)], 0, 0
    for code, character in re.findall(r"(\x1b\[[0-9;]*[A-Za-z])|(.|\r|\n)", written):
        if code == "\x1b[H":
            row, column = 0, 0
        elif code == "\x1b[2K":
            rows[row] = [" "] * columns
        elif code == "\x1b[J":
            rows[row][column:] = [" "] * (columns - column)
            rows[row + 1 :] = [[" "] * columns for _ in rows[row + 1 :]]
        elif code:
            assert code.endswith("m"), f"not a color: {code!r}"
        elif character == "\r":
            column = 0
        elif character == "\n":
            row += 1
            if row == lines:
                rows, row = [*rows[1:], [" "] * columns], lines - 1
        else:
            rows[row][column] = character  # IndexError: a line longer than the screen is wide
            column += 1
    return ["".join(row).rstrip() for row in rows]


def test_a_terminal_shows_the_last_curves_and_printed_lines_below() -> None:
    written = run_in_terminal(LOOP + "    print('epoch', epoch, 'done')\n")
    shown = screen(written, 80, 24)
    assert shown[0].split() == ["●", "train_loss", "0.2000", "●", "Accuracy", "0.9000"]
    assert shown[1].split() == ["x", "val_loss", "0.5000"]
    assert sum(line.count("train_loss") for line in shown) == 1
    assert sum("epoch" in line and "done" in line for line in shown) == 1
    assert shown.index("epoch 5 done") == 20
    assert "\x1b[38;5;" in written
    curves = "".join(shown[2:18])
    assert curves.count("x") == 5  # one for each validation loss
    assert curves.count("●") == 5 + 5  # one for each training loss and accuracy


def test_a_terminal_without_color_has_the_same_curves() -> None:
    colored = run_in_terminal(LOOP)
    plain = run_in_terminal(LOOP, NO_COLOR="1")
    assert screen(plain, 80, 24) == screen(colored, 80, 24)
    assert set(re.findall(r"\x1b\[[0-9;]*[A-Za-z]", plain)) == {"\x1b[H", "\x1b[2K", "\x1b[J"}


def test_a_dumb_terminal_shows_nothing() -> None:
    assert run_in_terminal(LOOP, TERM="dumb") == ""


def panel(history: History, *names: str) -> Panel:
    return Panel("plot", tuple(history[name] for name in names), names, "loss")


@pytest.mark.parametrize(("columns", "lines"), [(80, 20), (200, 56), (40, 8), (20, 5), (5, 2), (1, 1)])
def test_curves_fit_every_screen(columns: int, lines: int) -> None:
    history = trained()
    long = Panel("plot", (history["val_loss"],), ("a label " * 20,), "an axis " * 20)
    for panels in (
        [panel(history, "train_loss", "val_loss"), panel(history, "val_accuracy")],
        [panel(history), long, Panel("hist", (history["val_loss"],), ("a title " * 20,))],
    ):
        drawn = draw_lines(panels, "Step: 3", columns, lines, color=False)
        assert 1 <= len(drawn) <= lines
        assert max(map(len, drawn)) <= columns


def test_panels_that_do_not_fit_are_counted() -> None:
    panels = [panel(trained(), "val_loss")] * 5
    drawn = draw_lines(panels, "", 80, 20, color=False)
    assert drawn[-1] == "1 more in a larger terminal"
    assert sum(line.count("val_loss") for line in drawn) == 4


def test_a_screen_too_low_for_curves_shows_the_legend() -> None:
    panels = [panel(trained(), "train_loss", "val_loss")]
    drawn = [draw_lines(panels, "", 60, lines, color=False) for lines in (7, 8)]
    assert ["too low to draw" in "".join(lines) for lines in drawn] == [True, False]
    assert all("train_loss  0.1667" in lines[0] for lines in drawn)


def test_gaps_isolated_points_and_messages_in_a_terminal() -> None:
    history = History()
    for epoch, loss in enumerate([1.0, math.nan, 0.5, 0.25], 1):
        history.log(epoch, loss=loss, never=None, bad=math.inf)
    history.log(9, once=1.0)

    def drawn(name: str) -> str:
        return "\n".join(draw_lines([panel(history, name)], "", 60, 16, color=False)[1:])

    assert drawn("loss").count("●") == 3
    assert drawn("once").count("●") == 1
    assert "no values yet" in drawn("never")
    assert "no finite values" in drawn("bad")
    assert not re.search("[⠀-⣿]", "\n".join(line[5:30] for line in drawn("loss").splitlines()))  # the gap


def test_a_curve_of_one_step_with_one_without_values(tmp_path: Path) -> None:
    history = History()
    history.log(0, train_loss=None, val_loss=0.7)
    canvas = Canvas(tmp_path / "curves.png")
    with canvas:
        canvas.draw_plot([history["train_loss"], history["val_loss"]])
    assert Image.open(tmp_path / "curves.png").size[0] > 100
