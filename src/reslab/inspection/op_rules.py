"""What each of torch's own operations does to the receptive field, and how many multiply-adds it takes.

A field is one (size, jump, start) for the height and one for the width, as in ReceptiveField. A jump of 0
says that it stands still: every value sees the same pixels, as behind a global average. None says that what
is seen cannot be followed; what None flows into is None again, unless that sees the whole photo anyway.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .arithmetic import Window, through, windows

Axis = tuple[int, int, int]  # size, jump, start
Field = tuple[Axis, Axis] | None

PER_PIXEL = {"native_batch_norm", "cudnn_batch_norm", "_native_batch_norm_legit_no_training", "_to_copy"}
PER_PIXEL |= {"_native_batch_norm_legit", "native_dropout", "contiguous", "copy", "alias", "detach"}
PER_PIXEL |= {"hardswish", "hardsigmoid", "hardtanh", "relu6", "silu", "gelu", "mish", "elu", "celu", "selu"}
PER_PIXEL |= {"leaky_relu", "_prelu_kernel", "threshold", "softplus", "bernoulli"}
VIEWS = ("view", "_unsafe_view", "reshape", "_reshape_alias")
RESHAPES = {*VIEWS, "squeeze", "unsqueeze", "expand", "t"}
RESHAPES |= {"transpose", "permute", "select", "split", "split_with_sizes", "unbind", "chunk", "flatten"}
OF_UNKNOWN_COST = ("fft", "linalg", "cdist", "trilinear", "lstm", "gru", "rnn", "quantized", "multi_head")


def name_of(op: Any) -> str:
    """aten.relu_.default -> relu_"""
    return str(op.overloadpacket.__name__)


def windows_of(op: Any, args: Sequence[Any]) -> tuple[Window, Window] | None:
    """The windows of a two-dimensional convolution or pooling; None for everything else."""
    name = name_of(op)
    if name == "convolution" and args[0].dim() == 4:
        kind = "transposed" if args[6] else "convolution"
        return windows(
            kernel_size=tuple(args[1].shape[2:]),
            stride=_two(args[3]),
            padding=_two(args[4]),
            dilation=_two(args[5]),
            output_padding=_two(args[7]),
            kind=kind,
        )
    if name in ("max_pool2d_with_indices", "avg_pool2d") and args[0].dim() == 4:
        kernel, stride, padding, *rest = [*args[1:], None, None, None, None][:5]
        dilation = rest[0] if name.startswith("max") else 1
        ceil_mode = rest[1] if name.startswith("max") else rest[0]
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
    op: Any, args: Sequence[Any], inputs: list[tuple[Tensor, Field]], out: Tensor, photo: Sequence[int]
) -> Field:
    """The field of an operation's output. `inputs`: its tensors that come from the photo (height, width)."""
    field = _field_of(op, args, inputs, out, photo)
    return _whole(photo) if field and _is_whole(field, photo) else field


def _field_of(
    op: Any, args: Sequence[Any], inputs: list[tuple[Tensor, Field]], out: Tensor, photo: Sequence[int]
) -> Field:
    name = name_of(op)
    tensor, field = inputs[0]
    if all(known is not None and _stands_still(known) for _, known in inputs):
        return merge([known for _, known in inputs], photo)
    measures = name == "native_group_norm" or _takes_statistics(op, args)
    if not measures and (torch.Tag.pointwise in op.tags or name.rstrip("_") in PER_PIXEL):
        return merge([known for _, known in inputs], photo)
    if name == "cat":
        dim = args[1] if len(args) > 1 else 0
        in_place = dim % out.dim() < out.dim() - 2
        return merge([known for _, known in inputs], photo) if in_place else None
    if field is None or tensor.dim() < 3:
        return None
    if measures:  # mean and variance are taken over the whole picture
        return _whole(photo)
    passed = windows_of(op, args)
    if passed:
        if passed[0].kind == "transposed":
            return None
        return through(passed[0], *field[0]), through(passed[1], *field[1])
    if name in ("mean", "amax", "amin", "sum", "max", "min"):
        return _reduced(tensor, field, args, out)
    if name.startswith(("_adaptive_avg_pool2d", "adaptive_max_pool2d")):
        return _adaptive(tensor, field, out)
    return _rearranged(name, args, tensor, field, out)


def merge(fields: list[Field], photo: Sequence[int]) -> Field:
    """What is seen by a value made from several: from the first pixel that one of them sees to the last."""
    known = [field for field in fields if field is not None]
    if any(_is_whole(field, photo) for field in known):
        return _whole(photo)
    if len(known) < len(fields):
        return None
    joined = [_merge_axes([field[axis] for field in known]) for axis in (0, 1)]
    return None if joined[0] is None or joined[1] is None else (joined[0], joined[1])


def padded(field: Field, border: Sequence[int]) -> Field:
    """The field behind a border of (left, right, top, bottom) pixels."""
    if field is None:
        return None
    left, _, top, _ = [*border, 0, 0, 0, 0][:4]
    (h, jump_h, start_h), (w, jump_w, start_w) = field
    return (h, jump_h, start_h - top * jump_h), (w, jump_w, start_w - left * jump_w)


def takes_shape_alone(op: Any) -> bool:
    """Whether nothing of the values goes in: x.new_zeros(...) or ones_like(x) is a constant."""
    return name_of(op).startswith("new_") or name_of(op).endswith("_like")


def multiply_adds_of(op: Any, args: Sequence[Any], out: Any) -> int | None:
    """Products that are summed; 0 for what only adds, compares or rearranges; None if it is not known."""
    name = name_of(op)
    if name == "convolution":
        pixels = args[0] if args[6] else out  # a transposed convolution stamps once for every input value
        return int(pixels.numel() * args[1][0].numel())
    if name in ("mm", "bmm"):
        return int(args[0].numel() * args[1].shape[-1])
    if name in ("addmm", "baddbmm", "addbmm"):
        return int(args[1].numel() * args[2].shape[-1])
    if name == "mv":
        return int(args[0].numel())
    if name.startswith("_scaled_dot_product"):
        query, key, value = args[:3]  # (N, heads, L, E), (N, heads, S, E), (N, heads, S, V)
        return int(query.numel() * key.shape[-2] + math.prod(query.shape[:-1]) * value.shape[-2:].numel())
    if name == "linalg_vector_norm":
        return 0
    strange = op.namespace not in ("aten", "prims") or any(word in name for word in OF_UNKNOWN_COST)
    return None if strange else 0


def _takes_statistics(op: Any, args: Sequence[Any]) -> bool:
    """Whether a batch norm uses the mean and variance of what comes in: an instance norm always does."""
    if "batch_norm" not in name_of(op):
        return False
    names = [argument.name for argument in op._schema.arguments]
    return "training" in names and bool(args[names.index("training")])


def _merge_axes(axes: list[Axis]) -> Axis | None:
    if len({jump for _, jump, _ in axes}) > 1:
        return None
    first = min(start for _, _, start in axes)
    return max(start + size for size, _, start in axes) - first, axes[0][1], first


def _stands_still(field: tuple[Axis, Axis]) -> bool:
    return field[0][1] == field[1][1] == 0


def _whole(photo: Sequence[int]) -> tuple[Axis, Axis]:
    return (photo[0], 0, 0), (photo[1], 0, 0)


def _is_whole(field: tuple[Axis, Axis], photo: Sequence[int]) -> bool:
    return all(
        jump == 0 and start <= 0 and start + size >= pixels
        for (size, jump, start), pixels in zip(field, photo, strict=True)
    )


def _all_positions(field: tuple[Axis, Axis], sizes: Sequence[int]) -> Field:
    """What is seen from all positions of a (sizes) map together."""
    both = zip(field, sizes, strict=True)
    height, width = ((size + (n - 1) * jump, 0, start) for (size, jump, start), n in both)
    return height, width


def _reduced(tensor: Tensor, field: tuple[Axis, Axis], args: Sequence[Any], out: Tensor) -> Field:
    dims = args[1] if len(args) > 1 and args[1] else list(range(tensor.dim()))
    dims = {dim % tensor.dim() for dim in (dims if isinstance(dims, list | tuple) else [dims])}
    spatial = {tensor.dim() - 2, tensor.dim() - 1}
    if spatial <= dims:
        return _all_positions(field, tensor.shape[-2:])
    return None if spatial & dims or out.dim() < tensor.dim() else field


def _adaptive(tensor: Tensor, field: tuple[Axis, Axis], out: Tensor) -> Field:
    if tuple(out.shape[-2:]) == (1, 1):
        return _all_positions(field, tensor.shape[-2:])
    both = list(zip(tensor.shape[-2:], out.shape[-2:], strict=True))
    if any(before % after for before, after in both):
        return None  # windows of different sizes
    height, width = (Window(before // after, before // after) for before, after in both)
    return through(height, *field[0]), through(width, *field[1])


def _rearranged(
    name: str, args: Sequence[Any], tensor: Tensor, field: tuple[Axis, Axis], out: Tensor
) -> Field:
    if name == "slice":
        dim = args[1] if len(args) > 1 else 0
        start = args[2] if len(args) > 2 and args[2] is not None else 0
        step = args[4] if len(args) > 4 else 1
        axis = dim % tensor.dim() - (tensor.dim() - 2)
        if axis < 0:
            return field
        start = max(0, start + tensor.shape[dim]) if start < 0 else start
        axes = list(field)
        size, jump, first = axes[axis]
        axes[axis] = (size, jump * step, first + start * jump)
        return axes[0], axes[1]
    if name == "constant_pad_nd":
        return padded(field, args[1])
    if name not in RESHAPES:
        return None
    if out.dim() == 2 and tensor.dim() == 4 and name in VIEWS:
        return _all_positions(field, tensor.shape[-2:])  # flattened: (N, C, H, W) -> (N, C H W)
    if tuple(tensor.shape[-2:]) == (1, 1):
        return _all_positions(field, (1, 1))
    if name in ("transpose", "permute", "t", "select", "split", "split_with_sizes", "unbind", "chunk"):
        dims = _moved_dims(name, args, tensor)
        return None if any(dim % tensor.dim() >= tensor.dim() - 2 for dim in dims) else field
    return field if out.shape[-2:] == tensor.shape[-2:] else None


def _moved_dims(name: str, args: Sequence[Any], tensor: Tensor) -> list[int]:
    if name == "permute":
        return [dim for i, dim in enumerate(args[1]) if dim % tensor.dim() != i]
    if name == "transpose":
        return [args[1], args[2]]
    if name == "t":
        return [-1]
    if name in ("select", "unbind"):
        return [args[1] if len(args) > 1 else 0]
    return [args[2] if len(args) > 2 else 0]


def _two(value: Any) -> tuple[int, int]:
    values = list(value) if isinstance(value, list | tuple) else [value]
    return (values[0], values[-1])
