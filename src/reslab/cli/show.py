"""The verbs `conv` (one formula) and `show` (every layer of a network)."""

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
    """Calculate the output size of a convolution: the formula with your numbers, and a sketch of the kernel.

    Example: reslab conv 224 --kernel 7 --stride 2 --padding 3

    Sizes are one number for both axes, or HEIGHTxWIDTH: reslab conv 32x48 --kernel 3x5 --padding 1x2

    Args:
        size: input pixels
        kernel: kernel size
        stride: pixels between two positions of the kernel [1; with --pool the kernel size]
        padding: pixels added on every side
        dilation: pixels between two taps of the kernel
        output_padding: with --transposed: pixels added to the output
        transposed: a transposed convolution, which enlarges
        pool: pooling instead of a convolution
        ceil: with --pool: round up instead of down
        channels: IN:OUT, for parameters and multiply-adds, such as 3:64
        groups: with --channels: groups of channels that are convolved separately
        json: one JSON object on standard output
    """
    from reslab.inspection import convolution_text
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
    in_and_out = None if channels is None else _pair("--channels", channels, ":")
    if pool and in_and_out:
        raise UsageError("--channels with --pool", "pooling has no weights", "leave one of them out")
    if groups != 1 and in_and_out is None:
        why, do = "groups divide the channels and change no size", "give --channels as well, such as 64:64"
        raise UsageError(f"--groups {groups} without --channels", why, do)
    if json:
        print(json_.dumps(convolution_text.facts(both, pixels, in_and_out, groups)))
    else:
        print(convolution_text.explain(both, pixels, in_and_out, groups, _columns()))
        print("\nnext:  reslab show resnet18   every layer of a network, with its formula")


def show(
    network: str,
    other: str | None = None,
    /,
    *,
    input: str | None = None,  # noqa: A002  the flag's name
    num_classes: Whole | None = None,
    code: Annotated[str | None, Parameter(name="--network")] = None,
    depth: Whole = 2,
    width: Whole | None = None,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    output_width: float | None = None,
    json: Flag = False,
) -> None:
    """List every layer of a network: formula, shape, cost and receptive field. Compare two side by side.

    Example: reslab show resnet18 --input 3x224x224

    Example: reslab show resnet18 resnet18:plain

    Example: reslab show resnet18 -o resnet18.svg

    Example: reslab show my_block.py:MyBlock -o block.svg

    Networks: resnet18 and its family; torchvision:NAME; timm:NAME; resnet18:plain
    for another block; my_block.py:MyBlock for resnet18 with a block of your own,
    cifar_resnet20:my_block.py:MyBlock for another network with it; my_net.py:build
    for a whole network of your own, from a function with a parameter num_classes;
    TextbookBlock for a block alone, or TextbookBlock:64,64,1 with its in_channels,
    out_channels and stride; a model file or a run folder.

    Args:
        network: the network to show
        other: a second network to compare with; differences are marked
        input: CHANNELSxHEIGHTxWIDTH of an image [the network's usual size]
        num_classes: outputs of the last layer; not for a block alone [the network's own]
        code: for a run or model of a network of your own: your file again, which is run
        depth: 1 shows stages, 2 blocks, 3 the layers inside the blocks
        width: columns of the table [the terminal's]
        output: draw a picture instead, a .svg, .pdf or .png: a network's stages to scale with shortcuts;
            of a block, as my_block.py:MyBlock or SEBlock, the layers inside and the shapes between them
        output_width: width of the picture in millimeters [85, a column; 170 is a page]
        json: one JSON object with every layer on standard output; a list of two for two networks
    """
    if output is None and output_width is not None:
        raise UsageError("--output-width without --output", "it is the picture's width", "give -o net.svg")
    if output is not None and other is not None:
        raise UsageError("--output with two networks", "a picture shows one", "give -o with each of them")
    if output is not None and json:
        raise UsageError("--output with --json", "one is a picture, one a table", "leave one of them out")
    shape = None if input is None else _shape(input)
    if num_classes is not None:
        check_size("--num-classes", str(num_classes), num_classes)
    names = [text for text in (network, other) if text is not None]
    if output is not None:
        if _draw_block(network, shape, num_classes, output, output_width):
            print(f"\nnext:  {_command(names)}   every layer as a table")
            return
        _draw(network, shape, num_classes, output, output_width, code)
        command = _command(names, network=code, input=input, num_classes=num_classes)
        print(f"\nnext:  {command}   the same in numbers")
        return
    anatomies = [_anatomy(text, shape, num_classes, code) for text in names]
    columns = width if width is not None else _columns()
    if json:
        objects = [each.as_json() for each in anatomies]
        print(json_.dumps(objects[0] if other is None else objects))
        return
    if other is None:
        print(anatomies[0].table(columns, depth))
    else:
        from reslab.inspection.compare import side_by_side

        print(side_by_side(anatomies[0], anatomies[1], columns, depth))
    command = _command(names, network=code, input=input, num_classes=num_classes, width=width)
    print(f"\nnext:  {_next(anatomies[0], depth, command)}")


def _draw_block(
    text: str, shape: Sequence[int] | None, num_classes: int | None, output: Path, width: float | None
) -> bool:
    """Draw the inside of the block that `text` names; return False for the name of a network."""
    from reslab.inspection.drawing.block.draw import block_figure
    from reslab.inspection.summary import anatomy
    from reslab.networks.single_block import block_from_text
    from reslab.plots.figure_file import checked_path, save_figure

    checked_path(output)
    block = block_from_text(text, None if shape is None else shape[0])
    if block is None:
        return False
    if num_classes is not None:
        raise UsageError(f"--num-classes {num_classes} for a block", "it has no last layer", "leave it out")
    taken = anatomy(block.network, shape or block.input_shape, name=block.name)
    figure = block_figure(taken, block.network, width)
    save_figure(figure, output, block.name)
    millimeters = figure.get_figwidth() * 25.4
    print(f"{printable(str(output))}: inside of {printable(text)}, {millimeters:.0f} mm wide")
    return True


def _draw(
    text: str,
    shape: Sequence[int] | None,
    num_classes: int | None,
    output: Path,
    width: float | None,
    code: str | None,
) -> None:
    from reslab.inspection.drawing.draw import COLUMN_MM, draw_anatomy
    from reslab.plots.figure_file import checked_path

    checked_path(output)
    millimeters = COLUMN_MM if width is None else width
    draw_anatomy(_anatomy(text, shape, num_classes, code), output, millimeters)
    print(f"{printable(str(output))}: {printable(text)}, {millimeters:g} mm wide")


def _command(networks: Sequence[str], **flags: object) -> str:
    """Return a `reslab show` command for a shell, printable.

    Args:
        networks: one or two names.
        flags: value by flag name with underscores; None leaves the flag out.
    """
    words = [*networks]
    for name, value in flags.items():
        words += [] if value is None else ["--" + name.replace("_", "-"), str(value)]
    return f"reslab show {printable(shlex.join(words))}"


def _next(anatomy: Anatomy, depth: int, command: str) -> str:
    if len(anatomy.fold(depth + 1)) > len(anatomy.fold(depth)):
        return f"{command} --depth {depth + 1}   layers inside these rows"
    return "reslab conv 224 --kernel 7 --stride 2 --padding 3   one formula"


def _anatomy(text: str, shape: Sequence[int] | None, num_classes: int | None, code: str | None) -> Anatomy:
    from reslab.inspection.summary import anatomy

    path = Path(text)
    if os.path.isdir(path) or path.suffix == ".safetensors":  # Path.is_dir may raise for a closed folder
        from reslab.evaluation.classifier import Classifier

        if num_classes is not None:
            raise UsageError(
                "--num-classes with a model file", "the file has its own classes", "leave it out"
            )
        classifier = Classifier.load(path, network=code, device="cpu")
        usual = (classifier.preprocess.channels, *[classifier.preprocess.size] * 2)
        return anatomy(classifier.network, shape or usual, name=text)
    from reslab.networks.from_text import network_from_text

    # torchvision's networks cannot be built with another number of input channels
    channels = shape[0] if shape is not None and not text.startswith("torchvision:") else None
    named = network_from_text(text, num_classes, channels, meta=True)
    return anatomy(named.network, shape or named.input_shape, name=named.name)


def _shape(text: str) -> tuple[int, ...]:
    """Return (channels, height, width) of a text such as 3x224x224.

    Raises:
        UsageError: the text has another form, or a number that is below 1 or above MAX_SIZE.
    """
    try:
        numbers = tuple(int(part) for part in text.lower().split("x"))
    except ValueError:
        numbers = ()
    if len(numbers) != 3 or min(numbers) < 1:
        raise UsageError(f"--input '{text}' is not a shape", "", "give CHANNELSxHEIGHTxWIDTH: 3x224x224")
    check_size("--input", text, *numbers)
    return numbers


def _pair(name: str, text: str, sign: str = "x") -> tuple[int, int]:
    """Return the two numbers of a text: 3x5 gives (3, 5), and 3 gives (3, 3).

    Args:
        name: flag or argument, for the message.
        text: whole numbers, also 0 or negative ones.
        sign: separates them; with ":" there must be two.

    Raises:
        UsageError: the text has another form, or a number is above MAX_SIZE.
    """
    try:
        numbers = [int(part) for part in text.lower().split(sign)]
    except ValueError:
        numbers = []
    if sign == ":" and len(numbers) == 1 or len(numbers) not in (1, 2):
        form = "IN:OUT, such as 3:64" if sign == ":" else "one whole number, or HEIGHTxWIDTH such as 3x5"
        raise UsageError(f"{name} '{text}' cannot be read", "", f"give {form}")
    check_size(name, text, *numbers)
    return numbers[0], numbers[-1]


def _columns() -> int:
    """Return the columns of the terminal, at least 80; 80 if standard output is not a terminal."""
    return max(80, shutil.get_terminal_size().columns) if sys.stdout.isatty() else 80
