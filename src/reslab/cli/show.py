"""LOOK: conv, show."""

from __future__ import annotations

import json as json_
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from reslab.errors import UsageError
from reslab.text import printable

from .arguments import Flag, Whole, check_size

if TYPE_CHECKING:
    from reslab.inspection.summary import Anatomy


def conv(
    size: str,
    /,
    *,
    kernel: str,
    stride: str | None = None,
    padding: str = "0",
    dilation: str = "1",
    output_padding: str = "0",
    transposed: Flag = False,
    pool: Flag = False,
    ceil: Flag = False,
    channels: str | None = None,
    groups: Whole = 1,
    json: Flag = False,
) -> None:
    """The formula of a convolution with the numbers put in, and where the kernel stands.

    Example: reslab conv 224 --kernel 7 --stride 2 --padding 3

    Sizes are one number for both axes, or HEIGHTxWIDTH: reslab conv 32x48 --kernel 3x5 --padding 1x2

    Parameters
    ----------
    size
        pixels that go in
    kernel
        its size
    stride
        pixels from one position to the next [1; with --pool the kernel's size]
    padding
        pixels added on every side
    dilation
        pixels from one tap of the kernel to the next
    output_padding
        with --transposed: pixels added to the output
    transposed
        a transposed convolution, which makes larger
    pool
        pooling instead of a convolution
    ceil
        with --pool: round up instead of down
    channels
        IN:OUT, for parameters and multiply-adds: 3:64
    groups
        with --channels: groups of channels that do not see each other
    json
        one JSON object on standard output
    """
    from reslab.inspection import convolution_text as sketch
    from reslab.inspection.arithmetic import convolution_kind, windows

    both = windows(
        kernel_size=_pair("--kernel", kernel),
        stride=_pair("--stride", stride if stride is not None else kernel if pool else "1"),
        padding=_pair("--padding", padding),
        dilation=_pair("--dilation", dilation),
        output_padding=_pair("--output-padding", output_padding),
        kind=convolution_kind(transposed, pool, ceil),
        ceil_mode=ceil,
    )
    pixels = _pair("the size", size)
    between = None if channels is None else _pair("--channels", channels, ":")
    if pool and between:
        raise UsageError("--channels with --pool", "pooling has no weights", "leave one of them away")
    if groups != 1 and between is None:
        why, do = "groups divide the channels and change no size", "give --channels as well, as in 64:64"
        raise UsageError(f"--groups {groups} without --channels", why, do)
    if json:
        print(json_.dumps(sketch.facts(both, pixels, between, groups)))
    else:
        print(sketch.explain(both, pixels, between, groups, _width()))
        print("\nnext:  reslab show resnet18   every layer of a network, with its formula")


def show(
    network: str,
    other: str | None = None,
    /,
    *,
    input: str | None = None,  # noqa: A002  the flag's name
    num_classes: Whole | None = None,
    depth: Whole = 2,
    width: Whole | None = None,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    output_width: float | None = None,
    json: Flag = False,
) -> None:
    """A network taken apart: every layer's formula, shape, cost and receptive field. Two: side by side.

    Example: reslab show resnet18 --input 3x224x224

    Example: reslab show resnet18 resnet18:plain

    Example: reslab show resnet18 -o resnet18.svg

    What can be shown: resnet18 and the family; torchvision:NAME; resnet18:plain, the network with another
    block (basic, bottleneck, plain, preactivation, textbook); TextbookBlock, a block alone, or
    TextbookBlock:64,64,1 with its in_channels, out_channels and stride; my_block.py:MyBlock, resnet18 with
    a block of your own; a model file or a run folder.

    Parameters
    ----------
    network
        what to show
    other
        what to put beside it, differences marked
    input
        a photo's CHANNELSxHEIGHTxWIDTH [what the network is made for]
    num_classes
        outputs of the last layer, which a block alone does not have [the network's own]
    depth
        1 shows stages, 2 blocks, 3 what is in them
    width
        columns of the table [the terminal's]
    output
        a picture instead of the table: stages to scale, shortcuts over them; .svg, .pdf or .png
    output_width
        the picture's width in millimetres [85, a column; 170 is a page]
    json
        one JSON object on standard output, every layer in it; for two networks a list of two
    """
    if output is None and output_width is not None:
        raise UsageError("--output-width without --output", "it is the picture's width", "give -o net.svg")
    if output is not None and other is not None:
        raise UsageError("a picture of two networks", "a picture shows one", "give -o with each of them")
    if output is not None and json:
        raise UsageError("--output with --json", "one is a picture, the other a table", "ask twice")
    shape = None if input is None else _shape(input)
    if num_classes is not None:
        check_size("--num-classes", str(num_classes), num_classes)
    named = [text for text in (network, other) if text is not None]
    if output is not None:
        _draw(network, shape, num_classes, output, output_width)
        print(f"\nnext:  {_command(named, input=input, num_classes=num_classes)}   the same in numbers")
        return
    again = _command(named, input=input, num_classes=num_classes, width=width)
    shown = [_anatomy(text, shape, num_classes) for text in named]
    columns = width if width is not None else _width()
    if json:
        objects = [taken.as_json() for taken in shown]
        print(json_.dumps(objects[0] if other is None else objects))
    elif other is None:
        print(shown[0].table(columns, depth))
        print(f"\nnext:  {_next(shown[0], depth, again)}")
    else:
        from reslab.inspection.compare import side_by_side

        print(side_by_side(shown[0], shown[1], columns, depth))
        print(f"\nnext:  {_next(shown[0], depth, again)}")


def _draw(
    text: str, shape: Sequence[int] | None, num_classes: int | None, output: Path, width: float | None
) -> None:
    from reslab.inspection.drawing.draw import COLUMN, draw_anatomy
    from reslab.plots.figure_file import checked_path

    checked_path(output)
    millimetres = COLUMN if width is None else width
    draw_anatomy(_anatomy(text, shape, num_classes), output, millimetres)
    print(f"{printable(str(output))}: {printable(text)}, {millimetres:g} mm wide")


def _command(networks: Sequence[str], **flags: object) -> str:
    """The words that show the same again; flags that are None were not given."""
    words = [*networks]
    for name, value in flags.items():
        words += [] if value is None else ["--" + name.replace("_", "-"), str(value)]
    return f"reslab show {printable(shlex.join(words))}"


def _next(shown: Anatomy, depth: int, command: str) -> str:
    if len(shown.fold(depth + 1)) > len(shown.fold(depth)):
        return f"{command} --depth {depth + 1}   what is inside the rows"
    return "reslab conv 224 --kernel 7 --stride 2 --padding 3   one formula"


def _anatomy(text: str, shape: Sequence[int] | None, num_classes: int | None) -> Anatomy:
    from reslab.inspection.summary import anatomy

    path = Path(text)
    # not Path's own is_dir, which fails for a name that is too long or below a folder that is closed to us
    if os.path.isdir(path) or path.suffix == ".safetensors":
        from reslab.evaluation.classifier import Classifier

        if num_classes is not None:
            raise UsageError("--num-classes with a model file", "the file says how many", "leave it out")
        classifier = Classifier.load(path, device="cpu")
        usual = (classifier.preprocess.channels, *[classifier.preprocess.size] * 2)
        return anatomy(classifier.network, shape or usual, name=text)
    from reslab.networks.from_text import build_named

    # a network with another first layer only where the family can be built that way
    channels = shape[0] if shape is not None and not text.startswith("torchvision:") else None
    named = build_named(text, num_classes, channels)
    return anatomy(named.network, shape or named.input, name=named.name)


def _shape(text: str) -> tuple[int, ...]:
    """3x224x224 -> (3, 224, 224)"""
    try:
        numbers = tuple(int(part) for part in text.lower().split("x"))
    except ValueError:
        numbers = ()
    if len(numbers) != 3 or min(numbers) < 1:
        raise UsageError(f"--input '{text}' is no photo's shape", "", "CHANNELSxHEIGHTxWIDTH: 3x224x224")
    check_size("--input", text, *numbers)
    return numbers


def _pair(name: str, text: str, sign: str = "x") -> tuple[int, int]:
    """3 -> (3, 3), 3x5 -> (3, 5)"""
    parts = text.lower().split(sign)
    try:
        numbers = [int(part) for part in parts]
    except ValueError:
        numbers = []
    if sign == ":" and len(numbers) == 1 or len(numbers) not in (1, 2):
        form = "IN:OUT, as in 3:64" if sign == ":" else "one whole number, or HEIGHTxWIDTH as in 3x5"
        raise UsageError(f"{name} '{text}' is not what was expected", "", f"give {form}")
    check_size(name, text, *numbers)
    return numbers[0], numbers[-1]


def _width() -> int:
    """Columns of the terminal; 80 into a pipe."""
    return max(80, shutil.get_terminal_size().columns) if sys.stdout.isatty() else 80
