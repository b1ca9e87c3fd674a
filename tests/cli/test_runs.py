"""The verb runs: ideas told apart in one table, broken runs, narrow terminals."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reslab import Recipe, Run
from reslab.cli.runs import TITLES, fitting_table
from reslab.text import text_width
from reslab.training.recipe_name import nearest_preset, recipe_name
from reslab.training.recipe_presets import RECIPES


def test_runs_lists_broken_runs_too(
    photo_folder: Callable[..., Path], tmp_path: Path, reslab_here: Callable[..., Any], small: list[str]
) -> None:
    runs, photos = tmp_path / "runs", photo_folder(train=20, test=8)
    runs.mkdir()
    code, out, _ = reslab_here("runs", runs)
    assert (code, out) == (0, f"no runs in {runs} yet; start one: reslab train FOLDER\n")
    reslab_here("train", photos, *small, "--run", runs / "z-first")
    for name in ("half", "later", "odd", "gone"):
        shutil.copytree(runs / "z-first", runs / name)
    with (runs / "half" / "metrics.jsonl").open("r+") as file:
        file.truncate(200)
    later = json.loads((runs / "later" / "recipe.json").read_text()) | {"new_setting": 1}
    (runs / "later" / "recipe.json").write_text(json.dumps(later))
    (runs / "odd" / "run.json").write_text("[1]")
    (runs / "gone" / "result.json").unlink()
    code, out, err = reslab_here("runs", runs)
    assert code == 0
    lines = {line.split()[0].rpartition("/")[2]: line for line in out.splitlines()[2:]}
    assert set(lines) == {"z-first", "half", "later", "odd", "gone"}
    assert [lines[name].split()[-1] for name in ("half", "later", "odd")] == ["broken"] * 3
    assert " cifar_resnet20 " in lines["z-first"]
    assert " 2/2 " in lines["z-first"]
    assert lines["z-first"].endswith("finished")
    assert lines["gone"].endswith("interrupted")
    for words in ("half/metrics.jsonl cannot be read", "'new_setting'", "odd/run.json cannot be read"):
        assert words in err
    rows = {
        Path(r["run"]).name: r for r in map(json.loads, reslab_here("runs", runs, "--json").out.splitlines())
    }
    assert rows["z-first"]["epochs_done"] == 2
    assert rows["z-first"]["test_accuracy"] == Run(runs / "z-first").result["test_accuracy"]  # type: ignore[index]
    assert "cannot be read" in rows["half"]["error"]
    (runs / "later" / "result.json").unlink()
    refused = reslab_here("resume", runs / "later")
    assert refused.code == 2
    assert "later/recipe.json is not a valid recipe" in refused.err


def edit(run: Path, **settings: Any) -> None:
    """Change settings in recipe.json, as another training would have them."""
    recipe = json.loads((run / "recipe.json").read_text())
    (run / "recipe.json").write_text(json.dumps(recipe | settings))


def test_runs_of_different_ideas_have_different_lines(
    photo_folder: Callable[..., Path], tmp_path: Path, reslab_here: Callable[..., Any], small: list[str]
) -> None:
    runs = tmp_path / "runs"
    reslab_here("train", photo_folder(train=20, test=8), *small, "--run", runs / "a")
    for name in "bcd":
        shutil.copytree(runs / "a", runs / name)
    edit(runs / "b", label_smoothing=0.0)
    edit(runs / "c", seed=4)
    edit(runs / "d", batch_size=16)
    out = reslab_here("runs", runs).out
    cells = [line.split("  ") for line in out.splitlines()[2:]]
    assert len({tuple(row[1:]) for row in cells}) == 4
    assert "label_smoothing=0" in out
    assert "batch_size=16" in out  # other runs on these photos have 8
    rows = [json.loads(line) for line in reslab_here("runs", runs, "--json").out.splitlines()]
    assert [row["seed"] for row in rows] == [3, 3, 4, 3]
    assert rows[1]["changed"]["label_smoothing"] == 0
    low, high = rows[0]["test_interval"]
    assert low <= rows[0]["test_accuracy"] <= high
    assert f"{rows[0]['test_accuracy']:.3f} [{low:.3f}, {high:.3f}]" in out


def test_the_folder_of_a_comparison_names_the_command_that_shows_it(
    tmp_path: Path, reslab_here: Callable[..., Any]
) -> None:
    (tmp_path / "plan.json").write_text("{}")
    assert f"reslab compare {tmp_path}" in reslab_here("runs", tmp_path).out


@pytest.mark.parametrize("preset", RECIPES)
def test_a_preset_is_found_again_at_other_sizes_and_batch_sizes(preset: str) -> None:
    recipe = Recipe.load(preset).for_photos(1000).with_settings(size=64, seed=7, epochs=3)
    assert nearest_preset(recipe) == (preset, {})
    name, changed = nearest_preset(recipe.with_settings(val_fraction=0.25, optimizer="adam"))
    assert changed == {"val_fraction": 0.25} | ({"optimizer": "adam"} if name != "tutorial" else {})
    assert recipe_name("finetune", {"freeze": (), "learning_rate": 1e-4}) == (
        "finetune freeze=none learning_rate=0.0001"
    )


def line(run: str, network: str, recipe: str, seed: int, state: str = "finished") -> dict[str, str]:
    figures = (str(128), str(seed), "12/12", "0.912", "0.903 [0.881, 0.921]", "12.5", state)
    return dict(zip(TITLES, (run, network, recipe, *figures), strict=True))


LINES = [
    line("runs/2026-11-30-221500-cifar_resnet20", "cifar_resnet20:my_block.py:MyBlock", "fast", 0),
    line("runs/b", "cifar_resnet20:experiments/attention/squeeze.py:SqueezeAndExcite", "fast stem=small", 1),
    line(
        "runs/中文", "resnet18", "finetune weights=imagenet learning_rate=0.0001 freeze=conv1,bn1,layer1", 2
    ),
]


@pytest.mark.parametrize("columns", range(78, 240, 6))
def test_the_table_fits_the_terminal_and_keeps_run_network_and_accuracy(columns: int) -> None:
    text = fitting_table(LINES, columns)
    assert max(map(text_width, text.splitlines())) <= columns
    for row in LINES:
        assert f"{row['run']} " in text
        assert "0.903 [0.881, 0.921]" in text
    assert "MyBlock" in text  # the end of a long name tells blocks apart
    assert "SqueezeAndExcite" in text or "dExcite" in text
    assert "128" in text  # in the table, or below it


def test_a_pipe_gets_every_cell_uncut() -> None:
    text = fitting_table(LINES, None)
    assert all(cell in text for row in LINES for cell in row.values())
    assert "…" not in text


def test_a_broken_run_is_seen_as_broken_in_a_narrow_terminal() -> None:
    broken = dict.fromkeys(TITLES, "-") | {"run": "runs/odd", "state": "broken"}
    text = fitting_table([*LINES, broken], 78)
    assert "runs/odd" in text
    assert "broken" in text
