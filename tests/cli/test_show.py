"""The verbs conv, show and walk."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import reslab
from reslab.cli.main import run
from reslab.networks.registry import NetworkSpec


def output_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run([*words]) == 0
    return capsys.readouterr().out


def error_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run([*words]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err


def test_conv_does_not_import_torch() -> None:
    code = (
        "import sys; from reslab.cli.main import run; run(['conv', '224', '--kernel', '7', '--stride', '2',"
        "'--padding', '3', '--channels', '3:64']); print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "= ⌊(224 + 2·3 - 7)/2⌋ + 1" in done.stdout
    assert "118,013,952" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("stem", "224 --kernel 7 --stride 2 --padding 3 --channels 3:64"),
        ("never_seen", "8 --kernel 3 --stride 3"),
        ("per_axis", "6x9 --kernel 3x5 --padding 1x2"),
        ("transposed", "6 --kernel 3 --stride 2 --padding 1 --output-padding 1 --transposed"),
        ("pool_ceil", "8 --kernel 3 --stride 2 --pool --ceil"),
        ("dilation", "16 --kernel 3 --stride 2 --padding 2 --dilation 2"),
        ("no_even_padding", "8 --kernel 4"),
    ],
)
def test_conv_output_is_unchanged(name: str, words: str, golden: Any, capsys: Any) -> None:
    text = output_of(capsys, "conv", *words.split())
    assert max(map(len, text.splitlines())) <= 80
    golden(f"conv_{name}.txt", text.rstrip("\n"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("56 --kernel 2", "gives 56 at stride 1; 0 before and 1 after would do"),
        ("56 --pool --kernel 2", "gives 56 at stride 1; 0 before and 1 after would do"),
    ],
)
def test_conv_explains_why_no_padding_keeps_the_size(words: str, message: str, capsys: Any) -> None:
    assert f"same        no even padding {message}" in output_of(capsys, "conv", *words.split()).splitlines()


def test_conv_is_fast_for_any_size(capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    assert "1000000x1000000" in output_of(capsys, "conv", "1000000", "--kernel", "3", "--stride", "4")
    assert output_of(capsys, "conv", "100000", "--kernel", "900", "--stride", "7")
    assert time.monotonic() - began < 10  # it is a fraction of a second


def test_conv_json(capsys: pytest.CaptureFixture[str]) -> None:
    words = "224 --kernel 7 --stride 2 --padding 3 --channels 3:64 --json"
    assert json.loads(output_of(capsys, "conv", *words.split())) == {
        "kind": "convolution",
        "input": [224, 224],
        "output": [112, 112],
        "formula": "⌊(224 + 2·3 - 7)/2⌋ + 1 = 112",
        "never_seen": [0, 0],
        "padding_same": [3, 3],
        "padding_half": [3, 3],
        "parameters": 9408,
        "multiply_adds": 118013952,
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("3 --kernel 7", "4 too few"),
        ("8 --kernel 3 --stride 0", "the kernel would never move"),
        ("8 --kernel x", "--kernel 'x'"),
        ("8x8x8 --kernel 3", "'8x8x8'"),
        ("8 --kernel 3 --channels 3", "IN:OUT"),
        ("8 --kernel 3 --channels 3:4 --groups 2", "do not divide"),
        ("8 --kernel 3 --channels 3:4 --pool", "no weights"),
        ("8 --kernel 3 --groups 5", "--groups 5 without --channels"),
        ("8", "--kernel"),
    ],
)
def test_conv_errors_name_the_problem(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = error_of(capsys, "conv", *words.split())
    assert message in text
    assert "  do:  " in text


def test_show_json_has_the_documented_fields(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(
        output_of(capsys, "show", "resnet18", "--input", "3x64x96", "--num-classes", "2", "--json")
    )
    assert found["network"] == "resnet18"
    assert found["input"] == [3, 64, 96]
    assert found["parameters"] == sum(p.numel() for p in reslab.resnet18(num_classes=2).parameters())
    for name in ("parameters", "multiply_adds"):
        assert found[name] == sum(layer[name] for layer in found["layers"])
    first = found["layers"][0]
    assert (first["name"], first["kind"], first["output"]) == ("conv1", "Conv2d", [64, 32, 48])
    assert first["receptive_field"] == [7, 7]
    assert found["layers"][-1]["output"] == [2]


@pytest.mark.slow
def test_two_networks_are_shown_side_by_side(capsys: pytest.CaptureFixture[str], golden: Any) -> None:
    for name, words in (
        ("blocks", ["BasicBlock", "TextbookBlock", "--depth", "3"]),
        ("plain", ["resnet18", "resnet18:plain"]),
    ):
        text = output_of(capsys, "show", *words)
        assert max(map(len, text.splitlines())) <= 80
        golden(f"show_two_{name}.txt", text.rstrip("\n"))
    both = json.loads(output_of(capsys, "show", "resnet18", "resnet18:plain", "--json"))
    assert [taken["network"] for taken in both] == ["resnet18", "resnet18:plain"]
    assert both[0]["parameters"] - both[1]["parameters"] == 173_824  # the projections


@pytest.mark.slow
def test_equal_networks_are_reported_equal_at_every_depth(
    capsys: pytest.CaptureFixture[str],
) -> None:
    deeper = "no difference at this depth; --depth {} shows layers inside these rows"
    for depth, message in (("1", deeper.format(2)), ("2", deeper.format(3)), ("3", "no difference")):
        assert message in output_of(capsys, "show", *["cifar_resnet20"] * 2, "--depth", depth).splitlines()


def test_a_users_block_is_shown_in_a_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "my_block.py"
    file.write_text(
        "from torch import nn\n"
        "class MyBlock(nn.Conv2d):\n"
        "    def __init__(self, in_channels, out_channels, stride=1):\n"
        "        super().__init__(in_channels, out_channels, 5, stride, 2)\n"
    )
    text = output_of(capsys, "show", f"{file}:MyBlock")
    assert "⌊(56+2·2-5)/2⌋+1=28" in text
    assert "it has MyBlock" in error_of(capsys, "show", f"{file}:Mine")
    file.write_text("import nothing_of_that_name")
    assert "does not run" in error_of(capsys, "show", f"{file}:MyBlock")


def test_a_model_file_is_shown_with_its_input_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = NetworkSpec("cifar_resnet20", 2, 3)
    preprocess = reslab.Preprocess(size=40, resize=40)
    path = tmp_path / "model.safetensors"
    reslab.Classifier(spec.build(), ("cat", "dog"), preprocess, spec).save(path)
    for given in (path, tmp_path):
        assert "a photo of 3x40x40" in output_of(capsys, "show", str(given))
    assert "the file has its own classes" in error_of(capsys, "show", str(path), "--num-classes", "3")


def test_walk_uses_the_weights_of_a_file(
    tmp_path: Path, photo_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    photo, weights, page = photo_folder(test=2) / "test/red/001.jpg", tmp_path / "w.pth", tmp_path / "w.html"
    torch.manual_seed(0)
    torch.save(reslab.cifar_resnet20(num_classes=10).state_dict(), weights)
    said = output_of(capsys, "walk", "cifar_resnet20", str(photo), "--weights", str(weights), "-o", str(page))
    walked = reslab.walk("cifar_resnet20", photo, weights=weights)
    best = walked.scores[0]
    assert said.startswith(f"{walked}\n\n{walked.weights}\nPrediction: {best.name}, with")
    assert f"{best.probability:.3f}." in said
    assert str(walked) != str(reslab.walk("cifar_resnet20", photo))
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_show_does_not_change_the_random_state(capsys: pytest.CaptureFixture[str]) -> None:
    before = torch.get_rng_state()
    output_of(capsys, "show", "torchvision:squeezenet1_1", "--width", "200")
    output_of(capsys, "show", "cifar_resnet20:preactivation", "--depth", "1")
    assert bool((torch.get_rng_state() == before).all())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("resnet19", "did you mean 'resnet18'"),
        ("resnet18:fancy", "there is no block 'fancy'"),
        ("BasicBlock:64,64", "BasicBlock:64,128,2"),
        ("BasicBlock:64,64,0", "from 1 to"),
        ("torchvision:resnet19", "no classifier 'resnet19'"),
        ("resnet18 --input 3x224", "CHANNELSxHEIGHTxWIDTH"),
        ("torchvision:alexnet --input 1x224x224", "it takes 3 channels, not 1"),
        ("cifar_resnet20 --width 20", "give 40 or more"),
        ("nowhere.py:Block", "there is no file nowhere.py"),
        ("TextbookBlock --num-classes 7", "num_classes=7 for a single block"),
        ("resnet18 BasicBlock:8,8,1 --num-classes 7", "num_classes=7 for a single block"),
    ],
)
def test_show_errors_name_the_problem(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = error_of(capsys, "show", *words.split())
    assert message in text
    assert "  do:  " in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("conv 10000000001 --kernel 3", "the size 10000000001 is too large"),
        ("conv 8 --kernel 3x100000000000000000000", "--kernel 3x100000000000000000000 is too large"),
        ("conv 8 --kernel 3 --channels 3:10000001", "go up to 10,000,000"),
        ("show resnet18 --input 3x9999999999x9999999999", "--input 3x9999999999x9999999999 is too large"),
        (
            "show torchvision:resnet18 --num-classes 99999999999999999999",
            "--num-classes 99999999999999999999",
        ),
        (
            "show TextbookBlock:64,99999999999999999999,1",
            "each from 1 to 10,000,000",
        ),
    ],
)
def test_too_large_a_number_gives_an_error(
    words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = error_of(capsys, *words.split())
    assert message in text
    assert "  do:  " in text


def test_the_largest_numbers_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert "10000000x10000000 -> 9999998x9999998" in output_of(capsys, "conv", "10000000", "--kernel", "3")
    shown = output_of(
        capsys, "show", "resnet18", "--input", "3x10000000x10000000", "--num-classes", "10000000"
    )
    assert "64x5000000x5000000" in shown
    assert "10000000x56x56" in output_of(capsys, "show", "BasicBlock:10000000,10000000,1")


@pytest.mark.slow
def test_the_next_command_can_be_pasted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / "my block.py", tmp_path / "it's mine.py"]
    for file in files:
        file.write_text("from reslab import BasicBlock as Mine\n")
    first, second = (f"{file}:Mine" for file in files)
    network, picture = "cifar_resnet20:plain", str(tmp_path / "a picture.svg")
    flags = ["--input", "1x28x28", "--num-classes", "2", "--width", "120"]
    for words in (
        ["show", first],
        ["show", first, second],
        ["show", network],
        ["show", network, *flags],
        ["show", network, first, *flags],
        ["show", network, *flags[2:4]],
    ):
        _, *command = shlex.split(output_of(capsys, *words).splitlines()[-1].partition("   ")[0])
        assert command == ["reslab", *words, "--depth", "3"]
        output_of(capsys, *command[1:])
    last = output_of(capsys, "show", first, "-o", picture).splitlines()[-1]
    assert shlex.split(last.partition("   ")[0]) == ["next:", "reslab", "show", first]
    last = output_of(capsys, "show", network, *flags[:4], "-o", picture).splitlines()[-1]
    assert shlex.split(last.partition("   ")[0]) == ["next:", "reslab", "show", network, *flags[:4]]
    hostile = tmp_path / "\x1b[31m.py"
    hostile.write_text(files[0].read_text())
    last = output_of(capsys, "show", f"{hostile}:Mine").splitlines()[-1]
    assert "\\x1b[31m.py" in last
    assert "\x1b" not in last


def test_the_next_command_of_walk_can_be_pasted(
    tmp_path: Path, photo_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    photo, page = photo_folder(test=2) / "test/red/001.jpg", tmp_path / "a \x1b[31m page.html"
    model = tmp_path / "my block.py"
    model.write_text("from reslab import BasicBlock as Mine\n")
    *_, where, last = output_of(capsys, "walk", f"{model}:Mine", str(photo), "-o", str(page)).splitlines()
    assert shlex.split(last.partition("   ")[0]) == ["next:", "reslab", "show", f"{model}:Mine"]
    assert where.startswith(f"page: {tmp_path}/a \\x1b[31m page.html (")


BLOCK = """
from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from layers import convolution
from more.names import NAME


@dataclass
class Settings:
    width: int = 1


class Mine(nn.Sequential):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.add_module(NAME, convolution(in_channels, out_channels * Settings().width, stride))
"""


def test_a_users_block_imports_modules_of_its_own_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, kernel in (("old", 3), ("new", 5)):
        (tmp_path / name / "more").mkdir(parents=True)
        (tmp_path / name / "block.py").write_text(BLOCK)
        (tmp_path / name / "more/__init__.py").write_text("")
        (tmp_path / name / "more/names.py").write_text(f"NAME = {name!r}")
        (tmp_path / name / "layers.py").write_text(
            "from torch import nn\n"
            "def convolution(into, out, stride):\n"
            f"    return nn.Conv2d(into, out, {kernel}, stride, {kernel // 2})\n"
        )
    before = list(sys.path)
    words = [f"{tmp_path}/old/block.py:Mine", f"{tmp_path}/new/block.py:Mine", "--json"]
    for taken, name, kernel in zip(
        json.loads(output_of(capsys, "show", *words)), ("old", "new"), (3, 5), strict=True
    ):

        def block(into: int, out: int, stride: int = 1, kernel: int = kernel) -> torch.nn.Conv2d:
            return torch.nn.Conv2d(into, out, kernel, stride, kernel // 2)

        assert taken["parameters"] == sum(p.numel() for p in reslab.resnet18(block=block).parameters())
        assert f"layer1.0.{name}" in [layer["name"] for layer in taken["layers"]]
    assert sys.path == before
    assert not {"layers", "more", "more.names"} & set(sys.modules)


@pytest.mark.parametrize("content", ["import nothing_of_that_name", "raise SystemExit(3)", "class"])
def test_a_block_that_fails_to_import_leaves_no_modules(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "block.py").write_text(content)
    modules, path = set(sys.modules), list(sys.path)
    assert "does not run" in error_of(capsys, "show", f"{tmp_path}/block.py:Mine")
    assert (set(sys.modules), sys.path) == (modules, path)
