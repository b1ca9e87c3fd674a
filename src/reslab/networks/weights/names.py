"""Names of a file's tensors turned into the network's: prefixes, other libraries' names, last layer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from reslab.errors import WeightsError
from reslab.text import printable

from .conventions import CONVENTIONS

BATCH_COUNTER = ".num_batches_tracked"


@dataclass(frozen=True)
class Reading:
    """One way to read the names of a file.

    Attributes:
        prefix: removed from the start of the names.
        library: the one whose table of names was used, else "".
        tensors: by the network's names, or by their names in the file if the network has none for them.
        file_names: names in the file, by the names in `tensors`.
    """

    prefix: str
    library: str
    tensors: dict[str, Tensor]
    file_names: dict[str, str] = field(repr=False)


def last_layer(ours: Mapping[str, Tensor]) -> str:
    """Return the name of the network's last linear layer with a dot, "fc."; "" without one."""
    matrices = [name for name, tensor in ours.items() if tensor.dim() == 2 and name.endswith(".weight")]
    return matrices[-1].removesuffix("weight") if matrices else ""


def body_names(ours: Mapping[str, Tensor]) -> list[str]:
    """Return the names of weights before the last layer, with the statistics of batch norms.

    Integers, such as batch counters and tables of positions, are left out.
    """
    head = last_layer(ours)
    return [
        name
        for name, tensor in ours.items()
        if tensor.is_floating_point() and not (head and name.startswith(head))
    ]


def best_reading(ours: Mapping[str, Tensor], tensors: Mapping[str, Tensor], source: str) -> Reading:
    """Return the reading of a file's names under which most tensors fit the network, by name and shape.

    Args:
        ours: the network's tensors by name.
        tensors: the file's, by name.
        source: the file, for errors.

    Raises:
        WeightsError: the file holds the network more than once.
    """
    readings = [*_translations(tensors), _without_prefix(ours, tensors, source)]
    return max(reversed(readings), key=lambda reading: _count_fits(ours, reading.tensors))


def _count_fits(ours: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> int:
    return sum(name in tensors and tensors[name].shape == ours[name].shape for name in ours)


def _translations(tensors: Mapping[str, Tensor]) -> Iterator[Reading]:
    for convention in CONVENTIONS:
        if translation := convention.translate(tensors):
            prefix, names = translation
            file_names: dict[str, str] = {}
            for theirs, name in names.items():
                file_names.setdefault(theirs if name in file_names else name, theirs)
            translated = {name: tensors[theirs] for name, theirs in file_names.items()}
            yield Reading(prefix, convention.library, translated, file_names)


def _without_prefix(ours: Mapping[str, Tensor], tensors: Mapping[str, Tensor], source: str) -> Reading:
    """Remove the prefix of `_common_prefix`.

    Tensors outside it keep their names, or the ones in the file if one inside has the same name.
    """
    prefix = _common_prefix(ours, tensors, source)
    file_names = {name.removeprefix(prefix): name for name in tensors if name.startswith(prefix)}
    file_names |= {n: n for n in tensors if not n.startswith(prefix) and n not in file_names}
    return Reading(prefix, "", {name: tensors[theirs] for name, theirs in file_names.items()}, file_names)


def _common_prefix(ours: Mapping[str, Tensor], tensors: Mapping[str, Tensor], source: str) -> str:
    """Return the prefix that all names of the network have in the file; "" if they have none, or several.

    All means every name that is found, or at least half of the network's. The last layer does not count,
    since it is often outside of the prefix.

    Raises:
        WeightsError: at least half of the network's names are found under each of several prefixes.
    """
    body = set(body_names(ours))
    depth = max((name.count(".") for name in body), default=0) + 1
    found: dict[str, set[str]] = defaultdict(set)
    for name in tensors:
        parts = name.split(".")
        for i in range(max(0, len(parts) - depth), len(parts)):
            inner = ".".join(parts[i:])
            if inner in body:
                found[name.removesuffix(inner)].add(inner)
                break  # the shortest prefix: layer1.0.conv1 is not the stem's conv1
    if not found:
        return ""
    best = max(found, key=lambda prefix: len(found[prefix]))
    if 2 * len(found[best]) < len(body):
        return best if all(prefix.startswith(best) for prefix in found) else ""
    copies = [prefix for prefix in found if len(found[prefix]) == len(found[best])]
    if len(copies) > 1:
        listed = ", ".join(printable(prefix) for prefix in copies)
        raise WeightsError(
            f"{source} holds the network {len(copies)} times",
            f"its tensors are found under {listed}",
            f"choose one: {source}#{printable(copies[0][:-1])}",
        )
    return best


def match_last_layer(ours: Mapping[str, Tensor], reading: Reading) -> tuple[tuple[str, str], ...]:
    """Give the network's name of the last linear layer to the file's last matrix of its shape, and its bias.

    Only if `reading`, which is changed, lacks that name, and the file's part with this matrix has no other
    layers: the last of several layers does not replace a single one.

    Returns:
        (new name, old name) of each renamed tensor; () if nothing is renamed.
    """
    head, tensors = last_layer(ours), reading.tensors
    if not head or f"{head}weight" in tensors:
        return ()
    shape = ours[f"{head}weight"].shape
    theirs = [name for name, tensor in tensors.items() if name not in ours and tensor.shape == shape]
    if not theirs:
        return ()
    layer = theirs[-1].rpartition(".")[0]
    part = f"{layer.partition('.')[0]}."
    inside = {name for name in tensors if name not in ours and name.startswith(part)}
    if inside - {f"{layer}.weight", f"{layer}.bias"}:
        return ()
    renamed = []
    for kind in ("weight", "bias"):
        new, old = f"{head}{kind}", f"{layer}.{kind}"
        if new in ours and old in tensors and tensors[old].shape == ours[new].shape:
            tensors[new] = tensors.pop(old)
            reading.file_names[new] = reading.file_names.pop(old)
            renamed.append((new, old))
    return tuple(renamed)
