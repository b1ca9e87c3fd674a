"""Names that other libraries give to a ResNet's tensors, and torchvision's for the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Convention:
    """Names of a ResNet's tensors in another library, as a table of renames.

    Attributes:
        library: for messages.
        anchor: a name that every such file has. Text before it is the file's prefix, "module." for example.
        starts: starts of names, and torchvision's. Names with another start are left as they are.
        inside: text inside a name, and torchvision's.
        head: start of the last layer's names, which need not have the prefix; "" without an own name.
    """

    library: str
    anchor: str
    starts: Mapping[str, str]
    inside: Mapping[str, str] = field(default_factory=dict)
    head: str = ""

    def translate(self, names: Iterable[str]) -> tuple[str, dict[str, str]] | None:
        """Return the prefix, and torchvision's name of each name; None if the names are not of this kind."""
        names = list(names)
        found = {n.removesuffix(self.anchor) for n in names if f".{n}".endswith(f".{self.anchor}")}
        if len(found) != 1:
            return None
        prefix = found.pop()
        return prefix, {name: self._translated(name, prefix) for name in names}

    def _translated(self, name: str, prefix: str) -> str:
        if not name.startswith(prefix):
            _, head, leaf = f".{name}".rpartition(f".{self.head}")
            return f"fc.{leaf}" if self.head and head else name
        inner = name.removeprefix(prefix)
        if self.head and inner.startswith(self.head):
            return f"fc.{inner.removeprefix(self.head)}"
        start = next((start for start in self.starts if inner.startswith(start)), None)
        if start is None:
            return name
        inner = inner.removeprefix(start)
        for theirs, ours in self.inside.items():
            inner = inner.replace(theirs, ours, 1)
        return self.starts[start] + inner


STAGES = range(1, 5)
CONVENTIONS = (
    # Sequential(body, head), or the children of torchvision's network in a Sequential; 9 is its fc
    Convention(
        "fastai",
        "4.0.conv1.weight",
        {"0.": "conv1.", "1.": "bn1.", "9.": "fc."} | {f"{n + 3}.": f"layer{n}." for n in STAGES},
    ),
    Convention(
        "transformers",
        "embedder.embedder.convolution.weight",
        {"embedder.embedder.convolution.": "conv1.", "embedder.embedder.normalization.": "bn1."}
        | {f"encoder.stages.{n - 1}.layers.": f"layer{n}." for n in STAGES},
        {"shortcut.convolution.": "downsample.0.", "shortcut.normalization.": "downsample.1."}
        | {f".layer.{n - 1}.convolution.": f".conv{n}." for n in STAGES}
        | {f".layer.{n - 1}.normalization.": f".bn{n}." for n in STAGES},
        head="classifier.1.",
    ),
    # timm calls every gate se
    Convention("timm", "layer1.0.conv1.weight", {"": ""}, {".se.conv.": ".eca.conv."}),
    Convention("pytorch-cifar", "layer1.0.conv1.weight", {"": ""}, {".shortcut.": ".downsample."}),
)
