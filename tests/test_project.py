"""The project as a whole: its tree, its public names, its wheel."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import reslab

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "src/reslab"
LONGEST = 280  # lines that can be read in one sitting


def tree(page: str) -> dict[str, str]:
    """{path below src/reslab: its phrase} of the tree in a README."""
    text = (ROOT / page).read_text(encoding="utf-8")
    block = re.search(r"^```text\n(src/reslab/.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert block, f"{page} has no tree"
    found, folders = {}, [""]
    for line in block[1].splitlines()[1:]:
        entry, _, phrase = line.strip().partition(" ")
        depth = (len(line) - len(line.lstrip())) // 2
        folders[depth:] = [folders[depth - 1] + entry if entry.endswith("/") else ""]
        if not entry.endswith("/"):
            found[folders[depth - 1] + entry] = phrase.strip()
    return found


@pytest.mark.parametrize("page", ["README.md", "README.zh.md"])
def test_the_readme_has_a_phrase_for_every_file(page: str) -> None:
    files = {
        str(path.relative_to(SOURCES))
        for path in SOURCES.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name not in ("__init__.py", "py.typed")
    } | {"__init__.py"}
    listed = tree(page)
    assert sorted(listed) == sorted(files)
    assert all(listed.values())


def test_no_file_outgrows_one_sitting() -> None:
    long = {str(path): len(path.read_text().splitlines()) for path in SOURCES.rglob("*.py")}
    assert {path: lines for path, lines in long.items() if lines > LONGEST} == {}


def test_the_rooms_have_empty_init_files() -> None:
    assert [p for p in SOURCES.glob("*/__init__.py") if p.read_text()] == []


def test_public_names_are_sorted_and_there() -> None:
    assert reslab.__all__ == sorted(reslab.__all__, key=str.casefold)
    for name in reslab.__all__:
        assert getattr(reslab, name).__doc__, f"{name} has no docstring"


def test_the_type_checker_and_the_interpreter_see_the_same_names() -> None:
    text = (SOURCES / "__init__.py").read_text().partition("if TYPE_CHECKING:")[2].partition("__version__")[0]
    # only what is imported `as` itself is exported to those who check their own code against ours
    assert sorted(re.findall(r"import (\w+) as \1$", text, re.MULTILINE)) == sorted(reslab.__all__)


def test_import_reslab_does_not_import_torch() -> None:
    code = "import sys, reslab; dir(reslab); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'resnet19'"):
        reslab.resnet19  # noqa: B018


@pytest.mark.slow
def test_a_wheel_has_everything_and_works_elsewhere(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    ours = {p for p in SOURCES.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert {f"reslab/{path.relative_to(SOURCES)}" for path in ours} <= inside
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); import reslab; "
        "assert 'site' in reslab.__file__, reslab.__file__; from reslab.cli.main import main; "
        "reslab.make_drawings('photos', train=8, test=4); main(['train', 'photos', '--network', 'cifar_resnet20', "
        "'--epochs', '1', '--size', '32', '--precision', 'fp32', '--run', 'first'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "first/model.safetensors").is_file()


BENCHMARKS = set((ROOT / "benchmarks").glob("*.py")) - {ROOT / "benchmarks/fuzz_atheris.py"}  # needs Atheris


@pytest.mark.parametrize("script", sorted(BENCHMARKS), ids=lambda path: path.stem)
def test_a_benchmark_finds_all_that_it_imports(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(script.parent), *sys.path])
    made = runpy.run_path(str(script), run_name="looked at")
    assert made["__doc__"]
