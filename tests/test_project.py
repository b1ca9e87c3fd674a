"""The project as a whole: public names, their docstrings, the wheel and the benchmarks."""

from __future__ import annotations

import inspect
import re
import runpy
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import reslab

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "src/reslab"


def docstring_problems(name: str, value: Any) -> Iterator[str]:
    """Yield what `help(value)` lacks: a docstring of its own, and every parameter of a function."""
    text = inspect.cleandoc(value.__doc__ or "")
    own = inspect.isfunction(value) or (inspect.isclass(value) and "__doc__" in vars(value))
    if (
        not own or not text or text.startswith(f"{name}(")
    ):  # a dataclass without a docstring has its signature
        yield f"{name} has no docstring of its own"
    if inspect.isfunction(value):
        summary, _, rest = text.partition("\n\n")
        arguments = re.search(r"^Args:\n((?:    .*\n|\n)+)", rest + "\n", re.MULTILINE)
        listed = set(re.findall(r"^    \*{0,2}(\w+)", arguments[1], re.MULTILINE)) if arguments else set()
        parameters = set(inspect.signature(value).parameters)
        for parameter in sorted(parameters - listed - set(re.findall(r"\w+", summary))):
            yield f"{name} does not explain {parameter}"
        for parameter in sorted(listed - parameters):
            yield f"{name} explains {parameter}, which it does not have"


def test_every_public_name_has_a_docstring_that_explains_its_parameters() -> None:
    problems = [text for name in reslab.__all__ for text in docstring_problems(name, getattr(reslab, name))]
    assert problems == []


def test_import_reslab_does_not_import_torch() -> None:
    code = "import sys, reslab; dir(reslab); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_raises_attribute_error() -> None:
    with pytest.raises(AttributeError, match="resnet19"):
        reslab.resnet19  # noqa: B018


@pytest.mark.slow
def test_the_wheel_has_every_file_and_works_elsewhere(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    sources = {p for p in SOURCES.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert {f"reslab/{path.relative_to(SOURCES)}" for path in sources} <= packed
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = f"""
import sys; sys.path.insert(0, {str(tmp_path / "site")!r})
import reslab; assert 'site' in reslab.__file__, reslab.__file__
from reslab.cli.main import main
reslab.make_drawings("photos", train=8, test=4)
main("train photos --network cifar_resnet20 --epochs 1 --size 32 --precision fp32 --run first".split())
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "first/model.safetensors").is_file()


BENCHMARKS = set((ROOT / "benchmarks").glob("*.py")) - {ROOT / "benchmarks/fuzz_atheris.py"}  # needs Atheris


@pytest.mark.parametrize("script", sorted(BENCHMARKS), ids=lambda path: path.stem)
def test_a_benchmark_finds_its_imports(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(script.parent), *sys.path])
    assert runpy.run_path(str(script), run_name="imported")["__doc__"]
