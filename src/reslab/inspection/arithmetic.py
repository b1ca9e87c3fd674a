"""The arithmetic of convolution and pooling on plain integers, without torch.

Dumoulin, Visin: A guide to convolution arithmetic for deep learning, 2016. With n pixels along an axis, a
kernel of k, a stride of s, p pixels of padding on both sides and a dilation of d:

convolution, pooling    floor((n + 2 p - d (k - 1) - 1) / s) + 1, with ceil instead of floor in ceil mode
transposed convolution  (n - 1) s - 2 p + d (k - 1) + output_padding + 1

Whatever can differ between height and width is an int or a pair (height, width).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from reslab.errors import NetworkError, UsageError

Size = int | tuple[int, int]
Kind = Literal["convolution", "transposed", "pooling"]


@dataclass(frozen=True)
class Window:
    """A kernel on its way along one axis. `padding_after` is the right side's padding where it differs.

    Raises NetworkError for settings that no input fits, UsageError for what is no whole number.
    """

    kernel_size: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    output_padding: int = 0
    kind: Kind = "convolution"
    ceil_mode: bool = False
    padding_after: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("kernel_size", 1), ("stride", 1), ("dilation", 1), ("padding", 0)):
            _at_least(name, getattr(self, name), least)
        _at_least("output_padding", self.output_padding, 0)
        if self.kind == "pooling" and self.padding > self.kernel_size // 2:
            raise NetworkError(
                f"padding {self.padding} is too much for pooling with a kernel of {self.kernel_size}",
                "a window could then hold nothing but padding, and padding has no maximum",
                f"use a padding of {self.kernel_size // 2} or less, half the kernel",
            )
        if self.output_padding and self.kind != "transposed":
            raise UsageError(
                f"output_padding {self.output_padding} for a {self.kind}",
                "it says which of several sizes a transposed convolution gives back",
                "leave it out, or ask for a transposed convolution",
            )
        if self.output_padding >= max(self.stride, self.dilation) and self.output_padding:
            raise NetworkError(
                f"output_padding {self.output_padding} is too much for stride {self.stride}",
                "it tells apart the sizes that one stride maps to the same output, so it is smaller than it",
                f"use an output_padding of {max(self.stride, self.dilation) - 1} or less",
            )

    @property
    def extent(self) -> int:
        """Pixels from the first to the last that the kernel touches: d (k - 1) + 1."""
        return self.dilation * (self.kernel_size - 1) + 1

    @property
    def both_paddings(self) -> int:
        return self.padding + (self.padding if self.padding_after is None else self.padding_after)

    def output_size(self, size: int) -> int:
        """Pixels that come out where `size` go in. Raises NetworkError if that would be none."""
        _at_least("the input", size, 1)
        if self.kind == "transposed":
            out = (size - 1) * self.stride - self.both_paddings + self.extent + self.output_padding
            if out < 1:
                raise NetworkError(
                    f"a transposed convolution would leave {out} of {size} pixels",
                    f"it makes {out + self.both_paddings} and its padding cuts {self.both_paddings} off",
                    "use less padding",
                )
            return out
        spare = size + self.both_paddings - self.extent
        out = (-(-spare // self.stride) if self.ceil_mode else spare // self.stride) + 1
        if self.ceil_mode and (out - 1) * self.stride >= size + self.padding:
            out -= 1  # the last window would lie in the right padding altogether: torch leaves it out
        if out < 1:
            raise self._too_large(size)
        return out

    def _too_large(self, size: int) -> NetworkError:
        padded = size + self.both_paddings
        dilated = f" ({self.kernel_size} taps, dilation {self.dilation})" if self.dilation > 1 else ""
        missing = self.extent - padded
        pads = "" if self.kind == "pooling" else f"a padding of {self.padding + -(-missing // 2)}, "
        return NetworkError(
            f"a kernel over {self.extent} pixels{dilated} does not fit into {size}",
            f"with the padding there are {padded}, {missing} too few: the kernel has no place to stand",
            f"use {pads}an input of {size + missing} or more, or a smaller kernel",
        )

    def seen(self, size: int) -> bytearray:
        """1 for each of the input's pixels that the kernel ever touches, else 0 (not for transposed ones)."""
        touched = bytearray(size)
        last = (self.output_size(size) - 1) * self.stride - self.padding
        if self.dilation == 1 and self.stride <= self.extent:  # without a gap, and at once for any kernel
            end = max(0, min(size, last + self.extent))
            return bytearray(b"\1" * end + bytes(size - end))
        for tap in range(0, self.extent, self.dilation):
            first = tap - self.padding
            first += -(-max(0, -first) // self.stride) * self.stride  # the first place that is no padding
            under = range(first, min(size, last + tap + 1), self.stride)
            if under:
                touched[under.start : under.stop : under.step] = b"\1" * len(under)
        return touched


def windows(**settings: Any) -> tuple[Window, Window]:
    """One Window for the height and one for the width, from settings that are ints or pairs."""
    return Window(**_axis(settings, 0)), Window(**_axis(settings, 1))


def output_size(
    input_size: Size,
    *,
    kernel_size: Size,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    output_padding: Size = 0,
    transposed: bool = False,
    pool: bool = False,
    ceil_mode: bool = False,
) -> Size:
    """Pixels that come out along an axis; for a pair (height, width) or paired settings, a pair.

    output_size(224, kernel_size=7, stride=2, padding=3) is 112. `pool` is for pooling, whose padding is at
    most half the kernel, and which alone may round up (`ceil_mode`).

    Raises NetworkError for what cannot be (a kernel larger than the padded input), UsageError for what is no
    whole number or does not go together.
    """
    both = windows(
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        output_padding=output_padding,
        kind=convolution_kind(transposed, pool, ceil_mode),
        ceil_mode=ceil_mode,
    )
    given = (input_size, kernel_size, stride, padding, dilation, output_padding)
    sizes = _pair("the input", input_size)
    if not any(isinstance(value, tuple | list) for value in given):
        return both[0].output_size(sizes[0])
    return both[0].output_size(sizes[0]), both[1].output_size(sizes[1])


def multiply_adds(
    input_size: Size,
    *,
    in_channels: int,
    out_channels: int,
    kernel_size: Size,
    groups: int = 1,
    transposed: bool = False,
    **settings: Any,
) -> int:
    """Multiply-adds of a convolution for one photo; an int for `input_size` is a square.

    Every output value sums kernel height x kernel width x (in_channels / groups) products; products with
    the padding count as well, as everybody counts. FLOPs are twice this. `settings` as in output_size.
    """
    _check_channels(in_channels, out_channels, groups)
    size = _pair("the input", input_size)
    out = output_size(size, kernel_size=kernel_size, transposed=transposed, **settings)
    pixels = size if transposed else _pair("the output", out)  # a transposed one stamps once an input pixel
    taps = _pair("kernel_size", kernel_size)
    return pixels[0] * pixels[1] * taps[0] * taps[1] * (in_channels // groups) * out_channels


def parameters(
    *, in_channels: int, out_channels: int, kernel_size: Size, groups: int = 1, bias: bool = True
) -> int:
    """Weights of a convolution, and one bias for each output channel."""
    _check_channels(in_channels, out_channels, groups)
    taps = _pair("kernel_size", kernel_size)
    return taps[0] * taps[1] * (in_channels // groups) * out_channels + bias * out_channels


@dataclass(frozen=True)
class ReceptiveField:
    """What one output pixel sees of the photo along an axis, or along both if the fields are pairs.

    Output pixel i sees the photo's pixels start + i jump ... start + i jump + size - 1; those below 0 or
    beyond the photo's edge are padding.
    """

    size: Size = 1
    jump: Size = 1
    start: Size = 0


def receptive_field(layers: Iterable[Mapping[str, Any]]) -> ReceptiveField:
    """The receptive field behind a sequence of convolutions and poolings, each as output_size's settings.

    receptive_field([dict(kernel_size=7, stride=2, padding=3), dict(kernel_size=3, stride=2, padding=1)]) is
    ReceptiveField(size=11, jump=4, start=-5). Araujo, Norris, Sim: Computing Receptive Fields of
    Convolutional Neural Networks, Distill 2019. Raises UsageError for a transposed convolution, behind
    which neighbouring pixels see windows of different sizes.
    """
    axes = [(1, 1, 0), (1, 1, 0)]
    paired = False
    for layer in layers:
        if layer.get("transposed"):
            raise UsageError(
                "the receptive field behind a transposed convolution is not one number",
                "neighbouring outputs see different numbers of inputs",
                "ask for the layers before it",
            )
        known = ("kernel_size", "stride", "padding", "dilation")
        settings = {name: layer[name] for name in known if name in layer}
        paired = paired or any(isinstance(value, tuple | list) for value in settings.values())
        axes = [through(window, *axis) for window, axis in zip(windows(**settings), axes, strict=True)]
    height, width = axes
    if not paired:
        return ReceptiveField(*height)
    return ReceptiveField(*zip(height, width, strict=True))


def through(window: Window, size: int, jump: int, start: int) -> tuple[int, int, int]:
    """(size, jump, start) of a receptive field behind one more window."""
    return size + (window.extent - 1) * jump, jump * window.stride, start - window.padding * jump


def convolution_kind(transposed: bool, pool: bool, ceil_mode: bool) -> Kind:
    """The kind that these three switches mean. Raises UsageError for two that do not go together."""
    if transposed and (pool or ceil_mode):
        raise UsageError("transposed and pooling at once", "a layer is one of the two", "leave one out")
    if ceil_mode and not pool:
        raise UsageError("ceil_mode without pool", "convolutions round down, always", "add pool")
    return "transposed" if transposed else "pooling" if pool else "convolution"


def _axis(settings: Mapping[str, Any], axis: int) -> dict[str, Any]:
    plain = ("kind", "ceil_mode")
    return {name: v if name in plain else _pair(name, v)[axis] for name, v in settings.items()}


def _pair(name: str, value: Any) -> tuple[int, int]:
    if isinstance(value, tuple | list):
        if len(value) != 2:
            raise UsageError(f"{name} {value} has {len(value)} numbers", "there are two axes", "give 1 or 2")
        return value[0], value[1]
    return value, value


def _at_least(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise UsageError(f"{name} {value!r} is no whole number", "", f"give {name} as an int or a pair")
    if value < least:
        reason = {
            "stride": "the kernel would never move",
            "padding": "padding adds pixels, it takes none away",
        }
        raise NetworkError(
            f"{name} {value} is less than {least}", reason.get(name, ""), f"use {least} or more"
        )


def _check_channels(in_channels: int, out_channels: int, groups: int) -> None:
    for name, value in (("in_channels", in_channels), ("out_channels", out_channels), ("groups", groups)):
        _at_least(name, value, 1)
    if in_channels % groups or out_channels % groups:
        raise NetworkError(
            f"{groups} groups do not divide {in_channels} and {out_channels} channels",
            "every group has as many channels as the next",
            "use a number of groups that divides both",
        )
