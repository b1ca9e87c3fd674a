"""The verb get: a public data set as a photo folder, and the next command."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from materials import make_photo

from reslab.datasets.catalog import SETS
from reslab.datasets.fetch import next_command
from reslab.networks.from_text import parse_name
from reslab.training.recipe import Recipe


def get(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "reslab", "get", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Create a few pets as unpacked archives."""
    source = tmp_path / "source"
    rows = []
    for i in range(8):
        species = i % 2
        stem = f"{('Abyssinian', 'beagle')[species]}_{i}"
        make_photo(source / "images" / f"{stem}.jpg", i, (90, 90, 90))
        rows.append(f"{stem} {species + 1} {species + 1} 1\n")
    (source / "annotations").mkdir()
    (source / "annotations" / "trainval.txt").write_text("".join(rows[:6]))
    (source / "annotations" / "test.txt").write_text("".join(rows[6:]))
    return source


@pytest.mark.slow
def test_get_describes_the_data_set_and_the_next_command(pets: Path, tmp_path: Path) -> None:
    folder = tmp_path / "my pets"
    done = get("oxford-pets-cats-dogs", folder, "--source", pets)
    assert done.returncode == 0, done.stderr
    about, photos, last = done.stdout.splitlines()
    assert about.startswith(
        "oxford-pets-cats-dogs: 7,349 photos, cats against dogs; 3,680 train, 3,669 test. "
    )
    assert photos == f"photos: {folder}"
    assert last == f"next:   reslab train '{folder}' --weights imagenet --recipe finetune"
    assert done.stderr == "oxford-pets-cats-dogs has 3,680 train, 3,669 test; this copy has 6 train, 2 test\n"
    assert sorted(str(p.relative_to(folder)) for p in folder.glob("*/*")) == [
        "test/cat",
        "test/dog",
        "train/cat",
        "train/dog",
    ]


@pytest.mark.parametrize("name", SETS)
def test_the_next_command_names_an_existing_network_and_recipe(name: str) -> None:
    verb, train, folder, *flags = shlex.split(next_command(name, Path("a b")))
    assert (verb, train, folder) == ("reslab", "train", "a b")
    values = dict(zip(flags[::2], flags[1::2], strict=True))
    parse_name(values.get("--network", "resnet18"))
    recipe = Recipe.load(values.get("--recipe", "fast"))
    assert recipe.with_settings(size=int(values.get("--size", recipe.size))).size in (32, 96, 128, 160)


@pytest.mark.slow
def test_errors_give_exit_code_2(pets: Path, tmp_path: Path) -> None:
    for arguments, what in (
        (("oxford-pet", tmp_path / "new"), "there is no public data set 'oxford-pet'"),
        (("oxford-pets", pets, "--source", pets), f"{pets} exists already"),
        (("flowers102", tmp_path / "new", "--source", pets), f"{pets} does not hold all files of flowers102"),
        (("flowers102",), "reslab get needs FOLDER"),
    ):
        done = get(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: "), done.stderr
        assert what in done.stderr
        assert "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["source"]
