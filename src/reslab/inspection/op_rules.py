"""Rules for torch operations: receptive field of the output and number of multiply-adds.

A receptive field holds pairs (height, width). A jump of 0 means that all values depend on the same pixels, as
after a global average. None means that the field is unknown; what is computed from it is unknown as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .arithmetic import ReceptiveField, Window, through, windows

Inputs = Sequence[tuple[Tensor, ReceptiveField | None]]  # tensors that depend on the image, None: unknown
# operations on each value alone that torch does not tag as pointwise
POINTWISE = {"native_batch_norm", "cudnn_batch_norm", "_native_batch_norm_legit_no_training", "_prelu_kernel"}
POINTWISE |= {"_native_batch_norm_legit", "native_dropout", "_to_copy", "copy", "alias", "detach"}
POINTWISE |= {"hardswish", "gelu", "mish", "threshold", "relu6"}
VIEWS = ("view", "_unsafe_view", "reshape", "_reshape_alias")
SPLITS = {"split": 2, "split_with_sizes": 2, "select": 1, "unbind": 1}  # the argument that is the dimension
UNKNOWN_COST = ("fft", "cdist", "trilinear", "lstm", "gru", "rnn", "quantized", "multi_head")


def name_of(op: Any) -> str:
    """Return the name of a torch operation without namespace and overload: `relu_` for aten.relu_.default."""
    return str(op.overloadpacket.__name__)


def windows_of(op: Any, args: Sequence[Any]) -> tuple[Window, Window] | None:
    """Return the windows along height and width of a convolution or pooling, None for other operations.

    `args` are the arguments of the operation `op`. Only input of shape (N, C, H, W) has windows. Adaptive
    pooling has none.
    """
    name = name_of(op)
    if name == "convolution" and args[0].dim() == 4:
        return windows(
            kernel_size=tuple(args[1].shape[2:]),
            stride=_two(args[3]),
            padding=_two(args[4]),
            dilation=_two(args[5]),
            output_padding=_two(args[7]),
            kind="transposed" if args[6] else "convolution",
        )
    if name in ("max_pool2d_with_indices", "avg_pool2d") and args[0].dim() == 4:
        _, kernel, stride, padding, *rest = [*args, None, None, None, None][:6]
        dilation, ceil_mode = rest if name.startswith("max") else (1, rest[0])
        return windows(
            kernel_size=_two(kernel),
            stride=_two(stride or kernel),
            padding=_two(padding or 0),
            dilation=_two(dilation or 1),
            ceil_mode=bool(ceil_mode),
            kind="pooling",
        )
    return None


def field_of(
    op: Any, args: Sequence[Any], inputs: Inputs, out: Tensor, image: tuple[int, int]
) -> ReceptiveField | None:
    """Return the receptive field of an operation's output, None if it is unknown.

    A field that covers the whole image becomes (image, (0, 0), (0, 0)), without the padding around it.

    Args:
        op: the torch operation.
        args: its arguments.
        inputs: its tensors that depend on the image, one or more, with their fields.
        out: its output, or one of several.
        image: (height, width) of the image.
    """
    field = _field_of(op, args, inputs, out, image)
    return _whole(image) if field and _is_whole(field, image) else field


def _field_of(
    op: Any, args: Sequence[Any], inputs: Inputs, out: Tensor, image: tuple[int, int]
) -> ReceptiveField | None:
    name = name_of(op)
    tensor, field = inputs[0]
    fields = [found for _, found in inputs]
    if all(found and found.jump == (0, 0) for found in fields):
        return _merge(fields, image)
    # a batch norm has one bool, whether it uses the mean and variance of its input: an instance norm does
    measures = "group_norm" in name or ("batch_norm" in name and any(arg is True for arg in args))
    if not measures and (torch.Tag.pointwise in op.tags or name.rstrip("_") in POINTWISE):
        return _merge(fields, image)
    if name == "cat":
        dim = args[1] if len(args) > 1 else 0
        return _merge(fields, image) if dim % out.dim() < out.dim() - 2 else None
    if field is None or tensor.dim() < 3:
        return None
    if measures:
        return _whole(image)
    passed = windows_of(op, args)
    if passed and passed[0].kind != "transposed":
        return ReceptiveField.from_axes(*map(through, passed, field.axes))
    if name in ("mean", "amax", "amin", "sum", "max", "min"):
        return _reduced(tensor, field, args, out)
    if name.startswith(("_adaptive_avg_pool2d", "adaptive_max_pool2d")):
        return _adaptive(tensor, field, out)
    if name == "slice":
        return _sliced(tensor, field, *args[1:])
    if pads := padding_of(op, args):
        return _padded(field, pads)
    return _rearranged(name, args, tensor, field, out)


def padding_of(op: Any, args: Sequence[Any]) -> tuple[int, ...]:
    """Return (left, right, top, bottom) of a padding of zeros or of reflected or repeated pixels, else ()."""
    if name_of(op) not in ("constant_pad_nd", "reflection_pad2d", "replication_pad2d"):
        return ()
    return (*args[1], 0, 0)[:4]


def takes_shape_alone(op: Any) -> bool:
    """Return True for operations that use only a tensor's shape, as x.new_zeros(...) and ones_like(x)."""
    return name_of(op).startswith("new_") or name_of(op).endswith("_like")


def multiply_adds_of(op: Any, args: Sequence[Any], out: Any) -> int | None:
    """Count the multiply-adds of an operation for the whole batch, None if the number is unknown.

    Convolutions, matrix products and attention count. Additions, comparisons, pooling and views are 0.
    """
    name = name_of(op)
    if name == "convolution":
        pixels = args[0] if args[6] else out  # a transposed one applies its kernel once per input value
        return int(pixels.numel() * args[1][0].numel())
    if name in ("mm", "bmm"):
        return int(args[0].numel() * args[1].shape[-1])
    if name in ("addmm", "baddbmm"):
        return int(args[1].numel() * args[2].shape[-1])
    if name.startswith("_scaled_dot_product"):
        query, key, value = args[:3]  # (N, heads, L, E), (N, heads, S, E), (N, heads, S, V)
        return int(query.numel() * key.shape[-2] + math.prod(query.shape[:-1]) * value.shape[-2:].numel())
    unknown = op.namespace not in ("aten", "prims") or any(word in name for word in UNKNOWN_COST)
    return None if unknown else 0


def _merge(fields: Sequence[ReceptiveField | None], image: tuple[int, int]) -> ReceptiveField | None:
    """Return the field of a value computed from several: from their first pixel to their last.

    One field of the whole image gives the whole image. Else None if one is unknown or the jumps differ.
    """
    known = [field for field in fields if field is not None]
    if any(_is_whole(field, image) for field in known):
        return _whole(image)
    if len(known) < len(fields) or len({field.jump for field in known}) > 1:
        return None
    merged = []
    for axes in zip(*(field.axes for field in known), strict=True):
        start = min(start for _, _, start in axes)
        merged.append((max(start + size for size, _, start in axes) - start, axes[0][1], start))
    return ReceptiveField.from_axes(*merged)


def _whole(image: tuple[int, int]) -> ReceptiveField:
    return ReceptiveField(image, (0, 0), (0, 0))


def _is_whole(field: ReceptiveField, image: tuple[int, int]) -> bool:
    return all(
        jump == 0 and start <= 0 and start + size >= pixels
        for (size, jump, start), pixels in zip(field.axes, image, strict=True)
    )


def _all_positions(field: ReceptiveField, tensor: Tensor) -> ReceptiveField:
    """Return the field of all positions of a (..., H, W) tensor together; its jump is 0."""
    axes = zip(field.axes, tensor.shape[-2:], strict=True)
    return ReceptiveField.from_axes(*((size + (n - 1) * jump, 0, start) for (size, jump, start), n in axes))


def _reduced(
    tensor: Tensor, field: ReceptiveField, args: Sequence[Any], out: Tensor
) -> ReceptiveField | None:
    dims = args[1] if len(args) > 1 and args[1] else list(range(tensor.dim()))
    reduced = {dim % tensor.dim() for dim in (dims if isinstance(dims, list | tuple) else [dims])}
    spatial = {tensor.dim() - 2, tensor.dim() - 1}
    if spatial <= reduced:
        return _all_positions(field, tensor)
    return None if spatial & reduced or out.dim() < tensor.dim() else field


def _adaptive(tensor: Tensor, field: ReceptiveField, out: Tensor) -> ReceptiveField | None:
    if tuple(out.shape[-2:]) == (1, 1):
        return _all_positions(field, tensor)
    sizes = list(zip(tensor.shape[-2:], out.shape[-2:], strict=True))
    if any(before % after for before, after in sizes):
        return None  # windows of different sizes
    both = [Window(before // after, before // after) for before, after in sizes]
    return ReceptiveField.from_axes(*map(through, both, field.axes))


def _sliced(
    tensor: Tensor,
    field: ReceptiveField,
    dim: int = 0,
    start: int | None = None,
    end: Any = None,
    step: int = 1,
) -> ReceptiveField:
    axis = dim % tensor.dim() - (tensor.dim() - 2)
    axes = list(field.axes)
    if axis >= 0:
        size, jump, first = axes[axis]
        begin, _, _ = slice(start, None).indices(tensor.shape[dim])
        axes[axis] = (size, jump * step, first + begin * jump)
    return ReceptiveField.from_axes(*axes)


def _padded(field: ReceptiveField, pads: tuple[int, ...]) -> ReceptiveField:
    left, _, top, _ = pads
    (h, jump_h, start_h), (w, jump_w, start_w) = field.axes
    return ReceptiveField.from_axes((h, jump_h, start_h - top * jump_h), (w, jump_w, start_w - left * jump_w))


def _rearranged(
    name: str, args: Sequence[Any], tensor: Tensor, field: ReceptiveField, out: Tensor
) -> ReceptiveField | None:
    """Return the field after a view that leaves height and width in place, or flattens (N, C, H, W).

    None for other operations, and for views that move or split height or width.
    """
    if name in VIEWS and out.dim() == 2 and tensor.dim() == 4:  # (N, C, H, W) -> (N, C H W)
        return _all_positions(field, tensor)
    if name == "transpose":
        moved = [args[1], args[2]]
    elif name == "permute":
        moved = [dim for i, dim in enumerate(args[1]) if dim % tensor.dim() != i]
    elif name in SPLITS:
        place = SPLITS[name]
        moved = [args[place] if len(args) > place else 0]
    elif name in (*VIEWS, "squeeze", "unsqueeze", "expand"):
        return field if out.shape[-2:] == tensor.shape[-2:] else None
    else:
        return None
    return None if any(dim % tensor.dim() >= tensor.dim() - 2 for dim in moved) else field


def _two(value: Any) -> tuple[int, int]:
    """Return (height, width) from a number, or from a list of one or two numbers."""
    values = value if isinstance(value, list | tuple) else [value]
    return values[0], values[-1]
