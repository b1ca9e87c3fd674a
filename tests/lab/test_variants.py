"""Promises of variants: what Python gives is named as the shell names it, and a file is not run forever."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

import reslab
from reslab.lab.variants import notation, parse_variants
from reslab.networks.user_code import block_from_file, load_code

BLOCK = "from reslab import BasicBlock\n\nclass Mine(BasicBlock):\n    pass\n"


def test_blocks_of_python_get_their_notation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(BLOCK)
    assert notation(reslab.SEBlock) == "SEBlock"
    assert notation(block_from_file(Path("mine.py"), "Mine")) == "mine.py:Mine"


def test_a_block_without_a_file_is_refused(refuses: Any) -> None:
    in_notebook: dict[str, Any] = {"__name__": "__main__"}
    exec(BLOCK, in_notebook)
    for block in (in_notebook["Mine"], partial(reslab.BasicBlock)):
        with refuses(reslab.UsageError, "not in a file", "my_block.py:MyBlock"):
            notation(block)


def test_a_script_that_compares_its_own_block_needs_a_guard(tmp_path: Path, refuses: Any) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"{BLOCK}\nimport reslab\nreslab.compare('photos', ['basic', Mine])\n")
    with refuses(reslab.NetworkError, "script.py", '__name__ == "__main__"'):
        load_code(script, "Mine")


def test_a_path_may_have_an_equals_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("size=32").mkdir()
    Path("size=32/mine.py").write_text(BLOCK)
    _, variant = parse_variants(["basic", "size=32/mine.py:Mine"], "resnet18")
    assert variant.network == "resnet18:size=32/mine.py:Mine"


def test_values_of_settings_are_numbers_and_texts() -> None:
    names = ["learning_rate=3e-2", "size=32", "optimizer=adamw", "milestones=0.5+0.75"]
    settings = [variant.settings for variant in parse_variants(names, "resnet18")]
    assert settings == [
        {"learning_rate": 0.03}, {"size": 32}, {"optimizer": "adamw"}, {"milestones": ["0.5", "0.75"]}
    ]  # fmt: skip
