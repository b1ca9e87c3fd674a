"""Trace of one forward pass, operation by operation: layers, shapes, costs, memory and sources.

Hooks on the modules tell which layer runs. A dispatch mode of torch records every operation inside, so that
functional calls (`x + identity`, F.relu) count like layers.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from reslab.errors import NetworkError
from reslab.randomness import preserve_rng_state

from .arithmetic import ReceptiveField, Window
from .op_rules import field_of, multiply_adds_of, name_of, padding_of, takes_shape_alone, windows_of

IMAGE = -1  # source index of the network's input


class PassError(Exception):
    """Error of a pass: the network's own forward raised `error`; `recorder` holds the layers up to it."""

    def __init__(self, error: Exception, recorder: Recorder) -> None:
        super().__init__(str(error))
        self.error, self.recorder = error, recorder


class TensorInfo(NamedTuple):
    """Receptive field of a tensor that depends on the image, and the index of the call that made it.

    The field is None if it is unknown. The index of the image itself is IMAGE.
    """

    receptive_field: ReceptiveField | None
    call: int


@dataclass
class LayerCall:
    """Call of a module without submodules, or operation in a block's own forward. Shapes have the batch.

    Attributes:
        index: place in the pass.
        name: path of the module; of an operation the path of the block around it, with the operation.
        kind: class of the module, or name of the operation.
        module: the module; None for an operation.
        inputs: shapes of the tensors that come in.
        output: shape of the first tensor that goes out; None without one, or if the call raised.
        multiply_adds: sum over the operations of known cost.
        uncounted: names of the operations of unknown cost.
        windows: of the first convolution or pooling in it, along the height and the width.
        window_input: (height, width) of that operation's input.
        pads: (left, right, top, bottom) of a separate padding operation, () without one.
        receptive_field: of the output; None if unknown.
        sources: indices of the calls whose outputs come in, IMAGE for the image.
        kept_bytes: memory of its output that autograd keeps for the backward pass.
        live_bytes: largest memory of tensors that depend on the image and are alive while it runs.
    """

    index: int
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
    receptive_field: ReceptiveField | None = None
    sources: list[int] = field(default_factory=list)
    kept_bytes: int = 0
    live_bytes: int = 0


@dataclass
class ModuleCall:
    """Call of a module with submodules, during which calls first ... last - 1 were recorded.

    `input` and `output` are the shapes of its first tensors, with the batch; None if there is none.
    """

    name: str
    kind: str
    first: int
    last: int = 0
    input: tuple[int, ...] | None = None
    output: tuple[int, ...] | None = None


class Recorder(TorchDispatchMode):
    """Recorder of the layers, blocks and operations of one pass; it is active inside a `with` block.

    It puts hooks on `network` at once. The caller removes `handles` afterwards.

    Attributes:
        calls: layers and operations, in the order of the pass.
        module_calls: modules with submodules, in the order in which they begin.
        running: modules that have begun and not ended, the innermost last, with their calls.
        input_kept_bytes: memory of the image, if autograd keeps it for the backward pass, else 0.
        used_weights: ids of the parameters that some operation took.
        handles: of the hooks.
    """

    def __init__(self, network: nn.Module, image: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[LayerCall] = []
        self.module_calls: list[ModuleCall] = []
        self.running: list[tuple[nn.Module, LayerCall | ModuleCall]] = []
        self.counts: dict[str, int] = {}
        self.image_size = (image.shape[-2], image.shape[-1])
        self.known: dict[int, dict[Any, TensorInfo]] = {}  # storage -> geometry of a view -> its info
        self.maker: dict[int, int] = {}  # storage -> the call that made it
        self.kept: set[int] = set()
        self.input_kept_bytes = 0
        self.weights = {id(p) for p in network.parameters()}
        self.used_weights: set[int] = set()
        self.live_bytes = 0
        self._remember(image, TensorInfo(ReceptiveField((1, 1), (1, 1), (0, 0)), IMAGE))
        self.handles = [handle for name, m in network.named_modules() for handle in self._add_hooks(name, m)]

    def _add_hooks(self, name: str, module: nn.Module) -> Iterator[Any]:
        has_submodules = next(module.children(), None) is not None
        kind = type(module).__name__

        def begin(module: nn.Module, args: Any, kwargs: Any) -> None:
            inputs = [tuple(t.shape) for t in _tensors((args, kwargs))]
            call: LayerCall | ModuleCall
            if has_submodules:
                call = ModuleCall(name, kind, len(self.calls), input=inputs[0] if inputs else None)
                self.module_calls.append(call)
            else:
                call = LayerCall(len(self.calls), name, kind, module, inputs, live_bytes=self.live_bytes)
                self.calls.append(call)
            self.running.append((module, call))

        def end(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            _, call = self.running.pop()
            tensors = _tensors(output)
            call.output = tuple(tensors[0].shape) if tensors else None
            if isinstance(call, ModuleCall):
                call.last = len(self.calls)
                return
            known = [info for t in tensors if (info := self._recall(t))]
            call.receptive_field = known[0].receptive_field if known else None
            if not call.sources:  # a layer that does nothing, as dropout in inference
                call.sources = [info.call for info in known]

        yield module.register_forward_pre_hook(begin, with_kwargs=True)
        yield module.register_forward_hook(end, with_kwargs=True)

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = op(*args, **(kwargs or {}))
        given, made = _tensors((args, kwargs)), _tensors(out)
        if "batch_norm" in name_of(op):
            made = made[:1]  # the others are statistics of the batch
        self.used_weights |= {id(t) for t in given if id(t) in self.weights}
        known = [(t, info) for t in given if (info := self._recall(t))]
        cost = multiply_adds_of(op, args, out) if made else 0
        # work that does not depend on the image, as on a table of positions, counts as well
        if not (made and known or cost) or name_of(op) == "detach" or takes_shape_alone(op):
            return out
        call = self._call_of(op, made[0], known)
        if call:
            self._update_call(call, op, args, cost, known)
        for tensor in made if known else ():
            found = field_of(op, args, [(t, i.receptive_field) for t, i in known], tensor, self.image_size)
            source = call.index if call else known[0][1].call
            self._remember(tensor, TensorInfo(found, source), replace=not op.is_view)
            if call and call.module is None and tensor is made[0]:
                call.receptive_field = found
        if call:
            call.live_bytes = max(call.live_bytes, self.live_bytes)
        return out

    def _call_of(self, op: Any, made: Tensor, known: list[Any]) -> LayerCall | None:
        """Return the call of the layer that runs, else a new one for the operation, added to `calls`.

        None for views and copies outside of layers.
        """
        if self.running and isinstance(self.running[-1][1], LayerCall):
            return self.running[-1][1]
        if op.is_view or name_of(op) in ("_unsafe_view", "clone", "copy_", "_to_copy"):
            return None
        kind = name_of(op).strip("_")
        parent = self.running[-1][1].name if self.running else ""
        name = f"{parent}.{kind}" if parent else kind
        count = self.counts[name] = self.counts.get(name, 0) + 1
        shapes = [tuple(t.shape) for t, _ in known]
        numbered = name if count == 1 else f"{name}_{count}"
        call = LayerCall(len(self.calls), numbered, kind, None, shapes, tuple(made.shape))
        self.calls.append(call)
        return call

    def _update_call(self, call: LayerCall, op: Any, args: Any, cost: int | None, known: list[Any]) -> None:
        if cost is None:
            call.uncounted.append(name_of(op))
        call.multiply_adds += cost or 0
        call.sources += [i.call for _, i in known if i.call not in (call.index, *call.sources)]
        call.pads = call.pads or padding_of(op, args)
        passed = windows_of(op, args)
        if passed and call.windows is None:
            call.windows, call.window_input = passed, tuple(args[0].shape[-2:])

    def keep(self, tensor: Tensor) -> Tensor:
        """Add the bytes of a tensor that autograd keeps to the call that made it; return the tensor.

        A storage counts once. One that does not depend on the image, as a weight, does not count.
        """
        storage = tensor.untyped_storage()
        if storage._cdata in self.known and storage._cdata not in self.kept:
            self.kept.add(storage._cdata)
            maker = self.maker[storage._cdata]
            if maker == IMAGE:
                self.input_kept_bytes += storage.nbytes()
            else:
                self.calls[maker].kept_bytes += storage.nbytes()
        return tensor

    def _recall(self, tensor: Tensor) -> TensorInfo | None:
        views = self.known.get(tensor.untyped_storage()._cdata)
        if views is None:
            return None
        # of a view that no recorded operation made only the source is known
        return views.get(_geometry(tensor), next(iter(views.values()))._replace(receptive_field=None))

    def _remember(self, tensor: Tensor, info: TensorInfo, *, replace: bool = True) -> None:
        """Store what is known of a tensor, and count its memory as alive until it is freed.

        Without `replace` an entry for the same values stays: a view of a whole tensor is that tensor.
        """
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self.known:
            self.known[key], self.maker[key] = {}, info.call
            self.live_bytes += size
            weakref.finalize(storage, self._forget, key, size)
        if replace or _geometry(tensor) not in self.known[key]:
            self.known[key][_geometry(tensor)] = info

    def _forget(self, key: int, size: int) -> None:
        self.known.pop(key, None)
        self.kept.discard(key)
        self.live_bytes -= size


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _geometry(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.storage_offset(), tuple(tensor.shape), tensor.stride()


def record(network: nn.Module, shape: Sequence[int], gradients: bool) -> Recorder:
    """Run an image of zeros through a copy of a network and return the record of the pass.

    The image has the network's device and dtype. The random state stays as it is.

    Args:
        network: a copy from meta_copy; it has no hooks of the recorder afterwards.
        shape: (1, C, H, W).
        gradients: run with autograd and record what it keeps for the backward pass.

    Raises:
        PassError: the network's forward raised any Exception.
        NetworkError: the image is too large for torch or for the memory.
    """
    device, dtype = device_and_dtype(network)
    try:
        image = torch.zeros(tuple(shape), device=device, dtype=dtype)
    except (RuntimeError, TypeError) as error:
        size, why = "x".join(map(str, shape[1:])), str(error).partition("\n")[0]
        raise NetworkError(f"an image of {size} cannot be made", why, "give a smaller one") from error
    recorder = Recorder(network, image)
    try:
        with ExitStack() as stack:
            stack.enter_context(preserve_rng_state())
            stack.enter_context(torch.set_grad_enabled(gradients))
            stack.enter_context(torch.autograd.graph.saved_tensors_hooks(recorder.keep, lambda t: t))
            stack.enter_context(torch.device(device))  # for tensors that the network creates
            stack.enter_context(recorder)
            network(image)
    except Exception as error:
        raise PassError(error, recorder) from error
    finally:
        for handle in recorder.handles:
            handle.remove()
    return recorder


def device_and_dtype(network: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Return device and dtype of a network's first floating-point parameter, else buffer.

    Without one they are the CPU and the default dtype.
    """
    tensors = [*network.parameters(), *network.buffers()]
    floats = [t for t in tensors if t.is_floating_point()]
    first = floats[0] if floats else torch.zeros(())
    return first.device, first.dtype
