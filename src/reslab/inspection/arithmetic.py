"""Output size, cost and receptive field of convolution and pooling, on plain integers, without torch.

Dumoulin, Visin: A guide to convolution arithmetic for deep learning, 2016. With n pixels along an axis, a
kernel of k, a stride of s, p pixels of padding on both sides and a dilation of d:

convolution, pooling    floor((n + 2 p - d (k - 1) - 1) / s) + 1, with ceil instead of floor in ceil mode
transposed convolution  (n - 1) s - 2 p + d (k - 1) + output_padding + 1

A setting that can differ between height and width is an int or a pair (height, width).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from reslab.errors import NetworkError, UsageError

Size = int | tuple[int, int]
Kind = Literal["convolution", "transposed", "pooling"]
Axis = tuple[int, int, int]  # size, jump and start of a receptive field along one axis


@dataclass(frozen=True)
class Window:
    """Kernel that slides along one axis.

    Args:
        kernel_size: taps of the kernel.
        stride: pixels from one position to the next.
        padding: pixels added on both sides of the input; of a transposed convolution cut off the output.
        dilation: pixels from one tap to the next.
        output_padding: pixels added to the output of a transposed convolution.
        kind: "convolution", "transposed" or "pooling".
        ceil_mode: round the number of positions up instead of down.

    Raises:
        NetworkError: a setting is out of range, so that no input fits.
        UsageError: a setting is not an int, or output_padding is given for another kind.
    """

    kernel_size: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    output_padding: int = 0
    kind: Kind = "convolution"
    ceil_mode: bool = False

    def __post_init__(self) -> None:
        for name in ("kernel_size", "stride", "dilation", "padding", "output_padding"):
            _check_at_least(name, getattr(self, name), 0 if "padding" in name else 1)
        if self.kind == "pooling" and self.padding > self.kernel_size // 2:
            raise NetworkError(
                f"padding {self.padding} is too much for pooling with a kernel of {self.kernel_size}",
                "a window could then hold nothing but padding, and padding has no maximum",
                f"use a padding of {self.kernel_size // 2} or less, half the kernel",
            )
        if self.output_padding and self.kind != "transposed":
            raise UsageError(
                f"output_padding {self.output_padding} for a {self.kind}",
                "only a transposed convolution has several possible output sizes to choose from",
                "leave it out, or ask for a transposed convolution",
            )
        if self.output_padding >= max(self.stride, self.dilation) and self.output_padding:
            raise NetworkError(
                f"output_padding {self.output_padding} is too much for stride {self.stride}",
                "it must be smaller than the stride or the dilation",
                f"use an output_padding of {max(self.stride, self.dilation) - 1} or less",
            )

    @property
    def extent(self) -> int:
        """Pixels from the first to the last tap of the kernel: d (k - 1) + 1."""
        return self.dilation * (self.kernel_size - 1) + 1

    def output_size(self, size: int) -> int:
        """Return the output's pixels for `size` input pixels.

        Raises:
            NetworkError: the output would have none, or `size` is under 1.
            UsageError: `size` is not an int.
        """
        _check_at_least("the input", size, 1)
        if self.kind == "transposed":
            out = (size - 1) * self.stride - 2 * self.padding + self.extent + self.output_padding
            if out < 1:
                raise NetworkError(
                    f"a transposed convolution would leave {out} of {size} pixels",
                    f"it makes {out + 2 * self.padding} and its padding cuts {2 * self.padding} off",
                    "use less padding",
                )
            return out
        spare = size + 2 * self.padding - self.extent
        out = (-(-spare // self.stride) if self.ceil_mode else spare // self.stride) + 1
        if self.ceil_mode and (out - 1) * self.stride >= size + self.padding:
            out -= 1  # torch drops a last window that would lie in the right padding altogether
        if out < 1:
            raise self._too_large(size)
        return out

    def _too_large(self, size: int) -> NetworkError:
        padded = size + 2 * self.padding
        dilated = f" ({self.kernel_size} taps, dilation {self.dilation})" if self.dilation > 1 else ""
        missing = self.extent - padded
        pads = "" if self.kind == "pooling" else f"a padding of {self.padding + -(-missing // 2)}, "
        return NetworkError(
            f"a kernel over {self.extent} pixels{dilated} does not fit into {size}",
            f"with the padding there are {padded}, {missing} too few",
            f"use {pads}an input of {size + missing} or more, or a smaller kernel",
        )

    def covered(self, size: int) -> bytearray:
        """Return `size` bytes: 1 for each input pixel that some position of the kernel reads, else 0.

        Not for transposed convolutions. Raises as `output_size`.
        """
        covered = bytearray(size)
        last = (self.output_size(size) - 1) * self.stride - self.padding
        if self.dilation == 1 and self.stride <= self.kernel_size:  # no gaps: fast for any kernel
            end = max(0, min(size, last + self.kernel_size))
            return bytearray(b"\1" * end + bytes(size - end))
        for tap in range(0, self.extent, self.dilation):
            first = tap - self.padding
            first = first if first >= 0 else first % self.stride  # the first position inside the input
            pixels = range(first, min(size, last + tap + 1), self.stride)
            if pixels:
                covered[pixels.start : pixels.stop : pixels.step] = b"\1" * len(pixels)
        return covered


def windows(**settings: Any) -> tuple[Window, Window]:
    """Return one Window for the height and one for the width, from settings that are ints or pairs.

    The settings are those of Window; kind and ceil_mode hold for both axes.

    Raises:
        NetworkError: a setting is out of range.
        UsageError: a setting is neither an int nor a pair, or two do not go together.
    """
    axes: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for name, value in settings.items():
        pair = (value, value) if name in ("kind", "ceil_mode") else _checked_pair(name, value)
        axes[0][name], axes[1][name] = pair
    return Window(**axes[0]), Window(**axes[1])


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
    """Compute the output size of a convolution or pooling, in pixels along an axis.

    `output_size(224, kernel_size=7, stride=2, padding=3)` is 112. Dumoulin, Visin 2016: A guide to
    convolution arithmetic for deep learning.

    Args:
        input_size: pixels along an axis, or (height, width).
        kernel_size: pixels along an axis, or (height, width), as all settings below.
        stride: pixels from one position of the kernel to the next.
        padding: pixels added on both sides. For pooling at most half the kernel.
        dilation: pixels from one tap of the kernel to the next.
        output_padding: pixels added to the output, for a transposed convolution.
        transposed: compute a transposed convolution.
        pool: compute a pooling.
        ceil_mode: round up instead of down, for pooling.

    Returns:
        An int if every argument is an int, else (height, width).

    Raises:
        NetworkError: a setting is out of range, or the kernel is larger than the padded input.
        UsageError: a setting is neither an int nor a pair, or two do not go together.
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
    height, width = _checked_pair("the input", input_size)
    given = (input_size, kernel_size, stride, padding, dilation, output_padding)
    if not any(isinstance(value, tuple | list) for value in given):
        return both[0].output_size(height)
    return both[0].output_size(height), both[1].output_size(width)


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
    """Count the multiply-adds of a convolution for one image.

    Every output value sums kernel height x kernel width x (in_channels / groups) products. Products with
    the padding count as well, as in every published figure. FLOPs are twice this.

    Args:
        input_size: pixels of a square input's side, or (height, width).
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: pixels along an axis, or (height, width).
        groups: groups of channels that are convolved separately. It divides both numbers of channels.
        transposed: count a transposed convolution.
        **settings: stride, padding, dilation, output_padding, as in `output_size`.

    Raises:
        NetworkError: a setting is out of range, or the kernel is larger than the padded input.
        UsageError: a setting is neither an int nor a pair, or two do not go together.
    """
    weights = parameters(
        in_channels=in_channels, out_channels=out_channels, kernel_size=kernel_size, groups=groups, bias=False
    )
    out = output_size(input_size, kernel_size=kernel_size, transposed=transposed, **settings)
    height, width = as_pair(input_size if transposed else out)  # a transposed one starts at each input pixel
    return height * width * weights


def parameters(
    *, in_channels: int, out_channels: int, kernel_size: Size, groups: int = 1, bias: bool = True
) -> int:
    """Count the weights of a convolution, and one bias for each output channel if `bias`.

    Raises:
        NetworkError: a number is under 1, or `groups` does not divide both numbers of channels.
        UsageError: a number is neither an int nor, for kernel_size, a pair.
    """
    _check_channels(in_channels, out_channels, groups)
    taps = _checked_pair("kernel_size", kernel_size)
    return taps[0] * taps[1] * (in_channels // groups) * out_channels + bias * out_channels


@dataclass(frozen=True)
class ReceptiveField:
    """Receptive field of a layer's outputs in the input image, in pixels.

    Output pixel i depends on the image's pixels start + i jump ... start + i jump + size - 1. Pixels below 0
    or beyond the image's edge are padding. A jump of 0 means that all outputs depend on the same pixels, as
    after a global average.

    Args:
        size: pixels that one output depends on. All three are one int, or (height, width).
        jump: pixels of the image from one output to its neighbor.
        start: first pixel that output 0 depends on.
    """

    size: Size = 1
    jump: Size = 1
    start: Size = 0

    @classmethod
    def from_axes(cls, height: Axis, width: Axis) -> ReceptiveField:
        size, jump, start = zip(height, width, strict=True)
        return cls(size, jump, start)

    @property
    def axes(self) -> tuple[Axis, Axis]:
        """(size, jump, start) of the height, and (size, jump, start) of the width."""
        height, width = zip(as_pair(self.size), as_pair(self.jump), as_pair(self.start), strict=True)
        return height, width


def receptive_field(layers: Iterable[Mapping[str, Any]]) -> ReceptiveField:
    """Compute the receptive field after a sequence of convolutions and poolings.

    `receptive_field([dict(kernel_size=7, stride=2, padding=3), dict(kernel_size=3, stride=2, padding=1)])` is
    `ReceptiveField(size=11, jump=4, start=-5)`. Araujo, Norris, Sim 2019: Computing Receptive Fields of
    Convolutional Neural Networks.

    Args:
        layers: settings of each layer as in `output_size`: kernel_size, stride, padding, dilation. Others are
            ignored but for a true `transposed`.

    Returns:
        The field with ints if every setting is an int, else with pairs (height, width).

    Raises:
        UsageError: a layer is a transposed convolution, or a setting is neither an int nor a pair.
        NetworkError: a setting is out of range.
    """
    axes: list[Axis] = [(1, 1, 0), (1, 1, 0)]
    paired = False
    for layer in layers:
        if layer.get("transposed"):
            raise UsageError(
                "the receptive field after a transposed convolution is not one number",
                "neighboring outputs depend on different numbers of inputs",
                "ask for the layers before it",
            )
        known = ("kernel_size", "stride", "padding", "dilation")
        settings = {name: layer[name] for name in known if name in layer}
        paired = paired or any(isinstance(value, tuple | list) for value in settings.values())
        axes = [through(window, axis) for window, axis in zip(windows(**settings), axes, strict=True)]
    return ReceptiveField.from_axes(*axes) if paired else ReceptiveField(*axes[0])


def through(window: Window, axis: Axis) -> Axis:
    """Return the (size, jump, start) that `axis` becomes after one more convolution or pooling."""
    size, jump, start = axis
    return size + (window.extent - 1) * jump, jump * window.stride, start - window.padding * jump


def convolution_kind(transposed: bool, pool: bool, ceil_mode: bool) -> Kind:
    """Return the `kind` of a Window from the three switches of `output_size`.

    Raises:
        UsageError: transposed with pool or ceil_mode, or ceil_mode without pool.
    """
    if transposed and (pool or ceil_mode):
        raise UsageError("transposed and pooling at once", "a layer is one of the two", "leave one out")
    if ceil_mode and not pool:
        raise UsageError("ceil_mode without pool", "convolutions round down, always", "add pool")
    return "transposed" if transposed else "pooling" if pool else "convolution"


def as_pair(value: Any) -> tuple[int, int]:
    """Return (height, width) from a tuple or list of two, or from one number for both."""
    return (value[0], value[1]) if isinstance(value, tuple | list) else (value, value)


def _checked_pair(name: str, value: Any) -> tuple[int, int]:
    if isinstance(value, tuple | list) and len(value) != 2:
        raise UsageError(f"{name} {value} has {len(value)} numbers", "there are two axes", "give 1 or 2")
    return as_pair(value)


def _check_at_least(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise UsageError(f"{name} {value!r} is no whole number", "", f"give {name} as an int or a pair")
    if value < least:
        reasons = {"stride": "the kernel would never move", "padding": "padding only adds pixels"}
        raise NetworkError(
            f"{name} {value} is less than {least}", reasons.get(name, ""), f"use {least} or more"
        )


def _check_channels(in_channels: int, out_channels: int, groups: int) -> None:
    for name, value in (("in_channels", in_channels), ("out_channels", out_channels), ("groups", groups)):
        _check_at_least(name, value, 1)
    if in_channels % groups or out_channels % groups:
        raise NetworkError(
            f"{groups} groups do not divide {in_channels} and {out_channels} channels",
            "every group has the same number of channels",
            "use a number of groups that divides both",
        )
