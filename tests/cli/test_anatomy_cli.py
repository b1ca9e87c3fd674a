"""`reslab conv` and `reslab show`, as real processes and as the functions that they call."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import reslab
from reslab.cli.main import run
from reslab.networks.named import NetworkSpec


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run([*words]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run([*words]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err


def test_conv_answers_without_torch() -> None:
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
def test_conv_prints_what_people_have_seen(name: str, words: str, golden: Any, capsys: Any) -> None:
    text = told(capsys, "conv", *words.split())
    assert max(map(len, text.splitlines())) <= 80
    golden(f"conv_{name}.txt", text.rstrip("\n"))


def test_conv_is_at_once_on_any_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert "1000000x1000000" in told(capsys, "conv", "1000000", "--kernel", "3", "--stride", "4")
    assert told(capsys, "conv", "100000", "--kernel", "900", "--stride", "7")


def test_conv_gives_programs_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    words = "224 --kernel 7 --stride 2 --padding 3 --channels 3:64 --json"
    assert json.loads(told(capsys, "conv", *words.split())) == {
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
    ("words", "says"),
    [
        ("3 --kernel 7", "4 too few"),
        ("8 --kernel 3 --stride 0", "the kernel would never move"),
        ("8 --kernel x", "--kernel 'x'"),
        ("8x8x8 --kernel 3", "'8x8x8'"),
        ("8 --kernel 3 --channels 3", "IN:OUT"),
        ("8 --kernel 3 --channels 3:4 --groups 2", "do not divide"),
        ("8 --kernel 3 --channels 3:4 --pool", "no weights"),
        ("8", "--kernel"),
    ],
)
def test_conv_refuses_in_words(words: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = refused(capsys, "conv", *words.split())
    assert says in text
    assert "  do:  " in text


def test_show_gives_programs_what_the_design_promises(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(told(capsys, "show", "resnet18", "--input", "3x64x96", "--num-classes", "2", "--json"))
    assert found["network"] == "resnet18"
    assert found["input"] == [3, 64, 96]
    assert found["parameters"] == sum(p.numel() for p in reslab.resnet18(num_classes=2).parameters())
    for name in ("parameters", "multiply_adds"):
        assert found[name] == sum(layer[name] for layer in found["layers"])
    first = found["layers"][0]
    assert (first["name"], first["kind"], first["output"]) == ("conv1", "Conv2d", [64, 32, 48])
    assert first["receptive_field"] == [7, 7]
    assert found["layers"][-1]["output"] == [2]


def test_two_networks_stand_side_by_side(capsys: pytest.CaptureFixture[str], golden: Any) -> None:
    for name, words in (
        ("blocks", ["BasicBlock", "TextbookBlock", "--depth", "3"]),
        ("plain", ["resnet18", "resnet18:plain"]),
    ):
        text = told(capsys, "show", *words)
        assert max(map(len, text.splitlines())) <= 80
        golden(f"show_two_{name}.txt", text.rstrip("\n"))
    both = json.loads(told(capsys, "show", "resnet18", "resnet18:plain", "--json"))
    assert [taken["network"] for taken in both] == ["resnet18", "resnet18:plain"]
    assert both[0]["parameters"] - both[1]["parameters"] == 173_824  # the projections


def test_a_block_of_ones_own_is_shown_in_a_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "my_block.py"
    file.write_text(
        "from torch import nn\n"
        "class MyBlock(nn.Conv2d):\n"
        "    def __init__(self, in_channels, out_channels, stride=1):\n"
        "        super().__init__(in_channels, out_channels, 5, stride, 2)\n"
    )
    text = told(capsys, "show", f"{file}:MyBlock")
    assert "⌊(56+2·2-5)/2⌋+1=28" in text
    assert "it has MyBlock" in refused(capsys, "show", f"{file}:Mine")
    file.write_text("import nothing_of_that_name")
    assert "does not run" in refused(capsys, "show", f"{file}:MyBlock")


def test_a_model_file_is_shown_as_it_was_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = NetworkSpec("cifar_resnet20", 2, 3)
    preprocess = reslab.Preprocess(size=40, resize=40)
    path = tmp_path / "model.safetensors"
    reslab.Classifier(spec.build(), ("cat", "dog"), preprocess, spec).save(path)
    for given in (path, tmp_path):
        assert "a photo of 3x40x40" in told(capsys, "show", str(given))
    assert "the file says how many" in refused(capsys, "show", str(path), "--num-classes", "3")


def test_looking_draws_no_random_number(capsys: pytest.CaptureFixture[str]) -> None:
    before = torch.get_rng_state()
    told(capsys, "show", "torchvision:squeezenet1_1", "--width", "200")
    told(capsys, "show", "cifar_resnet20:preactivation", "--depth", "1")
    assert bool((torch.get_rng_state() == before).all())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("resnet19", "did you mean 'resnet18'"),
        ("resnet18:fancy", "there is no block 'fancy'"),
        ("BasicBlock:64,64", "BasicBlock:64,128,2"),
        ("BasicBlock:64,64,0", "at least 1"),
        ("torchvision:resnet19", "no classifier 'resnet19'"),
        ("resnet18 --input 3x224", "CHANNELSxHEIGHTxWIDTH"),
        ("torchvision:alexnet --input 1x224x224", "it takes 3 channels, not 1"),
        ("cifar_resnet20 --width 20", "give 40 or more"),
        ("nowhere.py:Block", "there is no file nowhere.py"),
    ],
)
def test_show_refuses_in_words(words: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = refused(capsys, "show", *words.split())
    assert says in text
    assert "  do:  " in text
