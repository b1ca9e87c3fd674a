"""Pitfalls: a short version of each experiment shows its effect, and the page has the measured figures."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest

EXPERIMENTS = Path(__file__).parents[1] / "docs/experiments"
sys.path.insert(0, str(EXPERIMENTS))

import pitfalls  # noqa: E402
from mistakes import page  # noqa: E402
from mistakes.bench import quick  # noqa: E402

pytestmark = pytest.mark.slow  # the short versions together take ten seconds
MEASURED = json.loads(pitfalls.JSON.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Figures of all experiments, measured once by the quick version."""
    import torch

    threads = torch.get_num_threads()
    bench = quick(tmp_path_factory.mktemp("pitfalls") / "photos")
    try:
        return pitfalls.measure_all(bench, say=lambda text: None)
    finally:
        torch.set_num_threads(threads)


def test_both_versions_measure_every_pitfall(found: Any) -> None:
    names = [pitfall.name for pitfall in pitfalls.PITFALLS]
    assert list(found) == names
    assert list(MEASURED) == ["made", *names]
    assert {name: set(figures) for name, figures in found.items()} == {
        name: set(MEASURED[name]) for name in names
    }


def test_the_false_curve_falls_although_the_network_learns_nothing(found: Any) -> None:
    false, honest = found["counter"]["false_curve"], found["counter"]["honest_curve"]
    assert false == sorted(false, reverse=True)
    assert false[-1] == pytest.approx(false[0] / len(false))
    assert honest == pytest.approx([honest[0]] * len(honest))


def test_random_crops_make_the_accuracy_lower_and_different_each_time(found: Any) -> None:
    figures = found["random_crops"]
    assert figures["cropped"] < figures["honest"]
    assert figures["cropped_low"] < figures["cropped_high"]


def test_shuffling_changes_the_mean_over_batches_but_not_over_images(found: Any) -> None:
    figures = found["shuffled"]
    assert figures["by_picture_difference"] < 1e-6
    assert figures["by_batch_difference"] > 1e-3
    assert figures["by_row"] < figures["accuracy"] - 0.2


def test_without_no_grad_all_activations_stay_in_memory(found: Any) -> None:
    figures = found["without_no_grad"]
    one_stage = figures["batch"] * 64 * (figures["size"] / 2) ** 2 * 4 / 1e6  # the first convolution's output
    assert figures["kept_megabytes"] > 3 * one_stage
    assert figures["fixed_megabytes"] == 0


def test_in_train_mode_the_accuracy_depends_on_the_batch_and_the_network_changes(found: Any) -> None:
    figures = found["train_mode"]
    assert figures["batch_4"] != figures["batch_16"]
    assert figures["by_folder"] < figures["batch_16"]  # a batch of one class: batch norm removes the class
    assert figures["tensors_changed"] > 0


def test_a_thousand_classes_start_with_ten_times_the_loss(found: Any) -> None:
    figures = found["thousand_classes"]
    assert figures["loss_start"] == pytest.approx(math.log(1000), abs=0.5)
    assert figures["right_loss_start"] == pytest.approx(math.log(2), abs=0.3)
    assert figures["parameters"] > 400 * figures["right_parameters"]


def test_compose_without_a_list_raises_the_error_of_the_page(found: Any) -> None:
    assert "takes 2 positional arguments but 4 were given" in found["compose_without_list"]["message"]


def test_multiply_adds_grow_with_the_number_of_pixels(found: Any) -> None:
    figures = found["large_crops"]
    assert figures["large_multiply_adds"] == pytest.approx(4 * figures["multiply_adds"], rel=0.01)
    full = MEASURED["large_crops"]
    assert full["large_multiply_adds"] / full["multiply_adds"] == pytest.approx((512 / 224) ** 2, rel=0.01)


def test_a_cached_photo_costs_less_than_a_decoded_one(found: Any) -> None:
    assert 0 < found["decoding"]["large_share"] < found["decoding"]["small_share"] < 1
    assert 0 < found["decoding"]["cached"] < found["decoding"]["decode"]


def test_a_progress_bar_with_a_wrong_total_has_no_percentage(found: Any) -> None:
    assert found["progress_total"]["wrong"] == "13it"
    assert found["progress_total"]["right"].startswith("100%")


def test_softmax_before_the_loss_shrinks_the_gradient_and_bounds_the_loss(found: Any) -> None:
    figures = found["soft_max_first"]
    assert figures["gradient_ratio"] < 0.7
    assert figures["gradient_when_wrong"] < 0.01
    assert figures["loss"] > figures["floor"] == pytest.approx(math.log(1 + math.exp(-1)))


def test_gradients_grow_without_zero_grad(found: Any) -> None:
    assert found["no_zero_grad"]["growth"] > 2
    assert found["no_zero_grad"]["accuracy"] < found["no_zero_grad"]["right_accuracy"]


def test_labels_matched_by_order_are_swapped(found: Any) -> None:
    figures = found["folder_order"]
    assert figures["classes"] == "Dog, cat"
    assert figures["by_order"] < 0.5 < figures["by_name"]
    assert figures["by_order"] + figures["by_name"] == pytest.approx(1)
    assert "Dog" in figures["answer"]


def test_choosing_by_the_test_set_overestimates_the_accuracy(found: Any) -> None:
    assert found["chosen_by_test"]["small_optimism"] > found["chosen_by_test"]["small_error"]


def test_without_normalization_the_accuracy_drops(found: Any) -> None:
    figures = found["no_normalization"]
    # one seed and 46 photos: the accuracy varies from 0.5 to 0.78 with the processor's rounding
    assert figures["accuracy"] < figures["right_accuracy"] - 0.1


@pytest.mark.parametrize("path", pitfalls.PAGES, ids=lambda path: path.parent.name)
def test_the_page_has_the_measured_figures(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert page.fill(text, MEASURED) == text, "python docs/experiments/pitfalls.py --fill puts the figures in"
    shown = {match[2].partition(".")[0] for match in page.MARKER.finditer(text)}
    assert shown >= {pitfall.name for pitfall in pitfalls.PITFALLS}


@pytest.mark.parametrize("path", pitfalls.PAGES, ids=lambda path: path.parent.name)
def test_the_page_shows_the_wrong_line_and_its_fix(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for pitfall in pitfalls.PITFALLS:
        assert pitfall.wrong in text
        assert pitfall.fix in text


def test_an_unknown_figure_on_a_page_is_an_error() -> None:
    with pytest.raises(KeyError):
        page.fill("<!-- counter.no_such_figure .2f -->0.07<!-- / -->", MEASURED)


def test_the_script_measures_only_the_named_pitfall(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pitfalls.main(["--quick", "compose_without_list", "--folder", str(tmp_path / "photos")])
    printed = capsys.readouterr().out
    assert "takes 2 positional arguments but 4 were given" in printed
    assert "no_zero_grad" not in printed
