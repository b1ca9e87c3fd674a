"""One pass of a picture through a copy of a network, written down operation by operation.

Hooks on the modules say which layer runs; a dispatch mode of torch sees every operation below them, so that
functional calls (`x + identity`, F.relu) count like layers and no graph has to be guessed from the code.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from reslab.errors import NetworkError
from reslab.randomness import preserve_rng_state

from .arithmetic import Window
from .op_rules import Field, field_of, multiply_adds_of, name_of, padded, takes_shape_alone, windows_of

PHOTO = -1  # the source of what comes from no layer


class PassError(Exception):
    """The network's own forward raised `error`; the recorder knows how far the picture came."""

    def __init__(self, error: Exception, recorder: Recorder) -> None:
        super().__init__(str(error))
        self.error, self.recorder = error, recorder


class Known(NamedTuple):
    """What is known of a tensor that comes from the photo; `row` wrote it."""

    seen: Field
    row: int


@dataclass
class Row:
    """One call of a layer, or one operation of a block's own."""

    name: str
    kind: str
    module: nn.Module | None
    inputs: list[tuple[int, ...]] = field(default_factory=list)
    output: tuple[int, ...] | None = None
    multiply_adds: int = 0
    uncounted: list[str] = field(default_factory=list)
    windows: tuple[Window, Window] | None = None
    window_input: tuple[int, int] = (0, 0)
    pads: tuple[int, ...] = ()
    given: Field = None  # of its first input
    seen: Field = None
    sources: list[int] = field(default_factory=list)
    kept_bytes: int = 0
    live_bytes: int = 0


@dataclass
class Span:
    """One call of a module that has modules inside: rows first ... last - 1 were written while it ran."""

    name: str
    kind: str
    first: int
    last: int = 0
    input: tuple[int, ...] | None = None
    output: tuple[int, ...] | None = None


class Recorder(TorchDispatchMode):
    """Writes down every layer's call and every operation of a pass."""

    def __init__(self, network: nn.Module, image: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rows: list[Row] = []
        self.spans: list[Span] = []
        self.running: list[tuple[nn.Module, Row | Span]] = []
        self.counts: dict[str, int] = {}
        self.photo = tuple(image.shape[-2:])
        # storage -> geometry of a view of it -> what is known of it
        self.known: dict[int, dict[Any, Known]] = {}
        self.maker: dict[int, int] = {}  # storage -> the row that made it
        self.kept: set[int] = set()
        self.input_kept = 0
        self.weights = {id(p) for p in network.parameters()}
        self.used: set[int] = set()
        self.live = 0
        self._remember(image, Known(((1, 1, 0), (1, 1, 0)), PHOTO))
        self.handles = [handle for name, m in network.named_modules() for handle in self._watch(name, m)]

    def _watch(self, name: str, module: nn.Module) -> Iterator[Any]:
        has_inside = next(module.children(), None) is not None
        kind = type(module).__name__

        def begin(module: nn.Module, args: Any, kwargs: Any) -> None:
            tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
            inputs = [tuple(t.shape) for t in tensors]
            entry: Row | Span
            if has_inside:
                entry = Span(name, kind, len(self.rows), input=inputs[0] if inputs else None)
                self.spans.append(entry)
            else:
                known = self._recall(tensors[0]) if tensors else None
                entry = Row(name, kind, module, inputs, given=known and known.seen, live_bytes=self.live)
                self.rows.append(entry)
            self.running.append((module, entry))

        def end(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            _, entry = self.running.pop()
            tensors = [t for t in tree_leaves(output) if isinstance(t, Tensor)]
            entry.output = tuple(tensors[0].shape) if tensors else None
            known = self._recall(tensors[0]) if tensors else None
            if isinstance(entry, Span):
                entry.last = len(self.rows)
            elif tensors:
                entry.seen = known and known.seen
                if not entry.sources:  # a layer that does nothing, as dropout in inference
                    entry.sources = [found.row for t in tensors if (found := self._recall(t))]

        yield module.register_forward_pre_hook(begin, with_kwargs=True)
        yield module.register_forward_hook(end, with_kwargs=True)

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = op(*args, **(kwargs or {}))
        self._follow_border(op, args)
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        found = [(t, known) for t in given if (known := self._recall(t))]
        made = [t for t in tree_leaves(out) if isinstance(t, Tensor)]
        if "batch_norm" in name_of(op):
            made = made[:1]  # the statistics beside it belong to the batch, not to a photo
        self.used |= {id(t) for t in given if id(t) in self.weights}
        if not found or not made or name_of(op) == "detach" or takes_shape_alone(op):
            self._charge(op, args, out, made)
            return out
        index = self._row_of(op, made[0], found)
        if index is not None:
            self._write(self.rows[index], index, op, args, out, found)
        for tensor in made:
            seen = field_of(op, args, [(t, known.seen) for t, known in found], tensor, self.photo)
            known = Known(seen, found[0][1].row if index is None else index)
            self._remember(tensor, known, anew=not op.is_view)
            if index is not None and self.rows[index].module is None and tensor is made[0]:
                self.rows[index].seen = seen
        if index is not None:
            self.rows[index].live_bytes = max(self.rows[index].live_bytes, self.live)
        return out

    def _follow_border(self, op: Any, args: Any) -> None:
        """A convolution's border of reflected or repeated pixels: copied out of sight, and then known."""
        row = self.running[-1][1] if self.running else None
        if name_of(op) != "convolution" or not isinstance(row, Row) or not self._recall(args[0]):
            return
        conv = row.module
        if isinstance(conv, _ConvNd) and conv.padding_mode != "zeros" and not any(args[4]):
            row.pads = tuple(conv._reversed_padding_repeated_twice)
            self._remember(args[0], Known(padded(row.given, row.pads), len(self.rows) - 1))

    def _row_of(self, op: Any, made: Tensor, found: list[Any]) -> int | None:
        """The row that an operation belongs to: the layer that runs, or a new one for a block's own."""
        if self.running and isinstance(self.running[-1][1], Row):
            return len(self.rows) - 1  # nothing begins inside a layer, so the last row is its own
        if op.is_view or name_of(op) in ("_unsafe_view", "clone", "copy_", "_to_copy"):
            return None
        kind = name_of(op).strip("_")
        parent = self.running[-1][1].name if self.running else ""
        name = f"{parent}.{kind}" if parent else kind
        count = self.counts[name] = self.counts.get(name, 0) + 1
        shapes = [tuple(t.shape) for t, _ in found]
        self.rows.append(
            Row(name if count == 1 else f"{name}_{count}", kind, None, shapes, tuple(made.shape))
        )
        return len(self.rows) - 1

    def _charge(self, op: Any, args: Any, out: Any, made: list[Tensor]) -> None:
        """Work that does not depend on the photo (a table of positions, say) is work all the same."""
        cost = multiply_adds_of(op, args, out) if made else 0
        if cost:
            self.rows[self._row_of(op, made[0], [])].multiply_adds += cost  # type: ignore[index]

    def _write(self, row: Row, index: int, op: Any, args: Any, out: Any, found: list[Any]) -> None:
        cost = multiply_adds_of(op, args, out)
        if cost is None:
            row.uncounted.append(name_of(op))
        row.multiply_adds += cost or 0
        row.sources += [k.row for _, k in found if k.row != index and k.row not in row.sources]
        if name_of(op) == "constant_pad_nd":
            row.pads = tuple(args[1])
        passed = windows_of(op, args)
        if passed and row.windows is None:
            row.windows, row.window_input = passed, tuple(args[0].shape[-2:])

    def keep(self, tensor: Tensor) -> Tensor:
        """Autograd keeps `tensor` for the backward pass: its memory goes to the layer that made it."""
        storage = tensor.untyped_storage()
        if storage._cdata in self.known and storage._cdata not in self.kept:
            self.kept.add(storage._cdata)
            maker = self.maker[storage._cdata]
            if maker == PHOTO:
                self.input_kept += storage.nbytes()
            else:
                self.rows[maker].kept_bytes += storage.nbytes()
        return tensor

    def _recall(self, tensor: Tensor) -> Known | None:
        views = self.known.get(tensor.untyped_storage()._cdata)
        if views is None:
            return None
        # a view that no operation made in sight: where it comes from is known, what it shows is not
        return views.get(_geometry(tensor), next(iter(views.values()))._replace(seen=None))

    def _remember(self, tensor: Tensor, known: Known, *, anew: bool = True) -> None:
        """`anew`: also where the same was known of; a view that shows all of a tensor is that tensor."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self.known:
            self.known[key], self.maker[key] = {}, known.row
            self.live += size
            weakref.finalize(storage, self._forget, key, size)
        if anew or _geometry(tensor) not in self.known[key]:
            self.known[key][_geometry(tensor)] = known

    def _forget(self, key: int, size: int) -> None:
        self.known.pop(key, None)
        self.kept.discard(key)
        self.live -= size


def _geometry(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.storage_offset(), tuple(tensor.shape), tensor.stride()


def record(network: nn.Module, shape: Sequence[int], gradients: bool) -> Recorder:
    """One pass of an image (1, C, H, W) through a copy made above. With gradients: what training keeps.

    Raises PassError if the network raises, NetworkError for an image that is too large for torch or memory.
    """
    device, dtype = place_of(network)
    try:
        image = torch.zeros(tuple(shape), device=device, dtype=dtype)
    except (RuntimeError, TypeError, OverflowError) as error:
        size = "x".join(map(str, shape[1:]))
        why = str(error).partition("\n")[0]
        raise NetworkError(f"there can be no picture of {size}", why, "give a smaller one") from error
    recorder = Recorder(network, image)
    try:
        with ExitStack() as stack:
            stack.enter_context(preserve_rng_state())
            stack.enter_context(torch.set_grad_enabled(gradients))
            stack.enter_context(torch.autograd.graph.saved_tensors_hooks(recorder.keep, lambda t: t))
            stack.enter_context(torch.device(device))  # what the network makes itself belongs there too
            stack.enter_context(recorder)
            try:
                network(image)
            except Exception as error:  # noqa: BLE001  a network may raise anything
                raise PassError(error, recorder) from error
    finally:
        for handle in recorder.handles:
            handle.remove()
    return recorder


def place_of(network: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Device and number format of a network's first weights."""
    tensors = [*network.parameters(), *network.buffers()]
    floats = [t for t in tensors if t.is_floating_point()]
    first = floats[0] if floats else torch.zeros(())
    return first.device, first.dtype
