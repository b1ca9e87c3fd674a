"""Stations of a photo in a network: feature maps, receptive field and residual sum of each.

The anatomy gives the stations and tells a sum's shortcut from its branch. One pass of the network itself,
with hooks, gives the maps and the norms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from reslab.evaluation.inference import evaluating
from reslab.inspection.arithmetic import ReceptiveField
from reslab.inspection.layers import Block, Layer
from reslab.inspection.summary import Anatomy
from reslab.randomness import preserve_rng_state

from .feature_maps import FeatureMaps, most_active

Shape = tuple[int, ...]
LAYER_NAMES = {
    "ZeroPad": "zero padding",
    "Conv2d": "convolution",
    "BatchNorm2d": "batch norm",
    "AvgPool2d": "average pooling",
    "MaxPool2d": "pooling",
}


@dataclass(frozen=True)
class Sum:
    """Residual sum of a block, with Euclidean norms over all channels and positions.

    Args:
        shortcut_layers: the layers that the shortcut passes through, "downsample (convolution, batch norm)";
            "" for the identity.
        shortcut_norm: norm of the shortcut.
        added_norm: norm of what the block adds to it.
        sum_norm: norm of the sum.
    """

    shortcut_layers: str
    shortcut_norm: float
    added_norm: float
    sum_norm: float

    @property
    def ratio(self) -> float:
        """`added_norm` relative to `shortcut_norm`; nan if the shortcut is zero."""
        return self.added_norm / self.shortcut_norm if self.shortcut_norm else float("nan")

    @property
    def largest(self) -> float:
        """Largest finite norm, the full length of a bar; 1 without one above 0."""
        norms = (self.shortcut_norm, self.added_norm, self.sum_norm)
        return max((norm for norm in norms if norm < float("inf")), default=0.0) or 1.0


@dataclass(frozen=True)
class Station:
    """A block, or a run of plain layers whose maps have one size.

    Args:
        name: name of its last module, whose output it shows.
        stage: stem, layer1, ..., head.
        title: names of its layers; of more than three "first to last".
        kind: class of the block; "" for plain layers.
        shape: (C, H, W) of the output.
        receptive_field: of one output position; None if it cannot be computed.
        formula: of the map's size, from the first layer that has one; "" without one.
        parameters: number of parameters.
        maps: the most active feature maps.
        sum: the block's residual sum; None without a sum, or if it is unknown which term is the shortcut.
        sum_note: why `sum` is None, as a sentence; "" with a sum, and for plain layers.
    """

    name: str
    stage: str
    title: str
    kind: str
    shape: Shape
    receptive_field: ReceptiveField | None
    formula: str
    parameters: int
    maps: FeatureMaps
    sum: Sum | None = None
    sum_note: str = ""


@dataclass(frozen=True)
class _Group:
    """Layers that become one station: a block, or a run of plain layers, with None as their block."""

    stage: str
    layers: tuple[Layer, ...]
    block: Block | None

    @property
    def last(self) -> Layer:
        return self.layers[-1]

    @property
    def title(self) -> str:
        names = [layer.name for layer in self.layers]
        return ", ".join(names) if len(names) <= 3 else f"{names[0]} to {names[-1]}"


def find_stations(
    network: nn.Module, images: Tensor, anatomy: Anatomy, max_maps: int
) -> tuple[tuple[Station, ...], object]:
    """Run images (1, C, H, W) once through the network in eval mode and without gradients.

    Modes, hooks and the random state are restored.

    Args:
        anatomy: of the same network and image size.
        max_maps: feature maps of a station at most.

    Returns:
        The stations in order, () if no layer has feature maps, and the network's output.
    """
    groups = _group_layers(anatomy, dict(network.named_modules()))
    wanted = {group.last.name: _has_channels_last(group.last) for group in groups}
    recorder = _Recorder(network, wanted, max_maps)
    with evaluating(network), preserve_rng_state(), recorder.hooked(), recorder:
        output = network(images)
    return tuple(_station(g, anatomy, recorder) for g in groups if g.last.name in recorder.maps), output


def _group_layers(anatomy: Anatomy, modules: Mapping[str, nn.Module]) -> list[_Group]:
    """Return the groups with feature maps, in order: each block, and runs of plain layers of one map size.

    Layers without maps are left out. So are plain layers of 1x1 maps, and further calls of a module.

    Args:
        modules: of the network, by name; what is not a module, such as a sum, belongs to no group.
    """
    blocks = {block.name: block for block in anatomy.blocks}
    after_stem = False  # plain layers are the stem before the first stage, and the head after it

    def key(layer: Layer) -> tuple[Any, ...]:
        nonlocal after_stem
        stage, _, rest = layer.name.partition(".")
        after_stem |= bool(rest)
        stage = stage if rest else "head" if after_stem else "stem"
        shape = _shape(layer)
        return stage, shape and shape[1:], layer.name if layer.name in blocks else ""

    groups = []
    used: set[str] = set()
    for (stage, size, block), run in groupby(anatomy.fold(2), key):
        layers = [layer for layer in run if layer.name in modules and layer.name not in used]
        if layers and size and len(size) == 2 and (size != (1, 1) or block):
            used |= {layer.name for layer in layers}
            groups.append(_Group(stage, tuple(layers), blocks[block] if block else None))
    return groups


def _has_channels_last(layer: Layer) -> bool:
    """Return whether the output is (H, W, C), as in Swin: the image is square, so H and W are equal."""
    shape = layer.output or ()
    return layer.receptive_field is None and len(shape) == 3 and shape[0] == shape[1] != shape[2]


def _shape(layer: Layer) -> Shape | None:
    """Return the output's shape, (C, H, W) also where the network has (H, W, C)."""
    shape = layer.output
    return (shape[2], *shape[:2]) if shape and _has_channels_last(layer) else shape


def _station(group: _Group, anatomy: Anatomy, recorder: _Recorder) -> Station:
    last = group.last
    total, note = _residual_sum(anatomy, group.block, recorder) if group.block else (None, "")
    return Station(
        name=last.name,
        stage=group.stage,
        title=group.title,
        kind=last.kind if group.block else "",
        shape=_shape(last) or (),
        receptive_field=last.receptive_field,
        formula=next((layer.formula for layer in group.layers if layer.formula), ""),
        parameters=sum(layer.parameters for layer in group.layers),
        maps=recorder.maps[last.name],
        sum=total,
        sum_note=note,
    )


def _residual_sum(anatomy: Anatomy, block: Block, recorder: _Recorder) -> tuple[Sum | None, str]:
    """Return the block's last sum and "", or None and a sentence with the reason."""
    inside = range(block.first, block.last)
    layers = anatomy.layers
    sums = [i for i in inside if layers[i].kind == "add" and len(set(layers[i].inputs)) == 1]
    own = [i for i in sums if layers[i].name.rpartition(".")[0] == block.name]
    if not sums:
        concatenates = any(layers[i].kind == "cat" for i in inside)
        why = "concatenates channels and adds nothing" if concatenates else "has no shortcut"
        return None, f"{block.kind} {why}, so there is no sum."
    if not own:
        return None, f"{block.kind} has its sums inside its parts, which are not shown one by one."
    sources = layers[own[-1]].sources
    depths = [_depth(anatomy, source, inside) for source in sources]
    if len(sources) != 2 or depths[0] == depths[1] or block.name not in recorder.sums:
        return None, f"{block.kind} adds two terms, but which of them is the shortcut is unknown."
    shortcut = depths.index(min(depths))
    *norms, total = recorder.sums[block.name]
    path = _shortcut_layers(anatomy, sources[shortcut], block)
    return Sum(path, norms[shortcut], norms[1 - shortcut], total), ""


def _depth(anatomy: Anatomy, index: int, inside: range) -> int:
    """Return the number of layers in `inside` on the longest path to the output of layer `index`.

    Args:
        index: of a layer in `anatomy.layers`; -1 is the image.
        inside: indices of the block's layers. Layers outside count 0.
    """
    if index not in inside:
        return 0
    return 1 + max((_depth(anatomy, source, inside) for source in anatomy.layers[index].sources), default=0)


def _shortcut_layers(anatomy: Anatomy, index: int, block: Block) -> str:
    """Return the block's layers before layer `index` and itself, "downsample (convolution, batch norm)".

    Return "" if `index` lies outside the block: the identity.
    """
    name, kinds = "", list[str]()
    while index in range(block.first, block.last):
        layer = anatomy.layers[index]
        name = layer.name.removeprefix(f"{block.name}.").partition(".")[0]
        kinds.insert(0, LAYER_NAMES.get(layer.kind, layer.kind))
        index = layer.sources[0] if layer.sources else -1
    return f"{name} ({', '.join(kinds)})" if kinds else ""


class _Recorder(TorchDispatchMode):
    """Record feature maps by hooks, and the norms of each module's last sum by dispatch, in one forward pass.

    Use it as two contexts, `with recorder.hooked(), recorder:`. Then `maps` and `sums` hold the results by
    module name. A sum is an addition of two 4-dimensional tensors of one shape.

    Args:
        wanted: names of the modules whose maps are kept, with True for maps (H, W, C).
        max_maps: feature maps of a module at most.
    """

    def __init__(self, network: nn.Module, wanted: Mapping[str, bool], max_maps: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.network, self.wanted, self.max_maps = network, wanted, max_maps
        self.running: list[str] = []
        self.maps: dict[str, FeatureMaps] = {}
        self.sums: dict[str, tuple[float, float, float]] = {}  # norms of first term, second term, sum

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Keep hooks on all modules of the network inside the block."""
        with ExitStack() as stack:
            for name, module in self.network.named_modules():
                stack.enter_context(module.register_forward_pre_hook(partial(self._begin, name)))
                stack.enter_context(module.register_forward_hook(partial(self._end, name)))
            yield

    def _begin(self, name: str, module: nn.Module, args: Any) -> None:
        self.running.append(name)

    def _end(self, name: str, module: nn.Module, args: Any, output: Any) -> None:
        self.running.pop()
        if name in self.wanted and isinstance(output, Tensor):
            maps = output[0].movedim(-1, 0) if self.wanted[name] else output[0]  # (C, H, W)
            # immediately: a later operation may change the output in place
            self.maps[name] = most_active(maps.float().cpu().numpy(), self.max_maps)

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        terms = [t for t in args[:2] if isinstance(t, Tensor) and t.dim() == 4]
        is_sum = op.overloadpacket.__name__ in ("add", "add_") and len(terms) == 2
        if not is_sum or terms[0].shape != terms[1].shape or not self.running:
            return op(*args, **kwargs)
        norms = [_norm(term) for term in terms]  # before the sum, which may overwrite the first term
        norms[1] *= abs(float(kwargs.get("alpha", 1)))
        out = op(*args, **kwargs)
        self.sums[self.running[-1]] = (norms[0], norms[1], _norm(out))
        return out


def _norm(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor.double()))
