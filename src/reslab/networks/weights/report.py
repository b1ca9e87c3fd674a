"""WeightsReport: every tensor of a network and of a weights file, and its outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from reslab.text import printable

MAX_LINES_OF_A_KIND = 3


@dataclass(frozen=True)
class WeightsReport:
    """Report on every tensor of a network and of a weights file; `print(report)` shows a summary.

    Names are the network's, in its order, unless noted.

    Attributes:
        source: path of the file.
        prefix: removed from the start of the names in the file, such as "module.".
        loaded: tensors that were copied into the network.
        adapted: those of `loaded` that were converted to another number of input channels.
        renamed: (name, name in the file) of those of `loaded` that have another name in the file, apart
            from the prefix.
        missing: tensors that are not in the file; they stay as initialized. Batch counters count as missing
            only if the file has some.
        other_shape: (name, shape in the file, shape in the network); these stay as initialized.
        unused: tensors of the file that the network lacks, by their names in the file.
        library: fastai, transformers, timm or pytorch-cifar if the names were translated by the table of
            this library's names; else "".
        entry: entry of the file that the tensors are from, such as "state_dict"; "" for the file itself.
        is_averaged: True if this entry holds an average of the weights over the training.
        left_out: classes and functions that the file names. They were not run, and what they stand for was
            not read.
    """

    source: str
    prefix: str
    loaded: tuple[str, ...]
    adapted: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]
    other_shape: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    unused: tuple[str, ...]
    library: str = ""
    entry: str = ""
    is_averaged: bool = False
    left_out: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """True if no tensor is missing or of another shape."""
        return not self.missing and not self.other_shape

    def __str__(self) -> str:
        total = len(self.loaded) + len(self.missing) + len(self.other_shape)
        headline = f"{self.source}: {len(self.loaded)} of {total} tensors loaded"
        if self.unused:
            found = len(self.loaded) + len(self.other_shape) + len(self.unused)
            headline += f", {len(self.unused)} of the file's {found} not used"
        lines = [headline]
        if self.is_averaged and not self.source.endswith(f"#{self.entry}"):
            do = f"choose another: {self.source}#ENTRY"
            lines.append(f"  averaged weights, from the file's entry '{self.entry}'; {do}")
        if self.left_out:
            more = ", ..." * (len(self.left_out) > MAX_LINES_OF_A_KIND)
            names = ", ".join(self.left_out[:MAX_LINES_OF_A_KIND]) + more
            lines.append(f"  not read, and not run, as they are not tensors: {names}")
        if self.prefix:
            lines.append(f"  removed '{self.prefix}' from the start of the names in the file")
        if self.adapted:
            lines.append(f"  adapted to the number of input channels: {', '.join(self.adapted)}")
        if self.library:
            ours, theirs = self.renamed[-1]
            count = f"{len(self.renamed)} tensor{'s' * (len(self.renamed) > 1)}"
            lines.append(f"  {count} have names of {self.library}: '{theirs}' is '{ours}'")
        else:
            for ours, theirs in self.renamed:
                lines.append(f"  '{theirs}' in the file was loaded as '{ours}' (same place, same shape)")
        if self.missing:
            lines.append(f"  not in the file, left as initialized: {_by_module(self.missing)}")
        other = [f"{name}, file {theirs}, network {ours}" for name, theirs, ours in self.other_shape]
        if len(other) > MAX_LINES_OF_A_KIND:
            other = [_by_module(name for name, _, _ in self.other_shape)]
        lines += [f"  another shape, left as initialized: {shapes}" for shapes in other]
        if self.unused:
            inner = (name.removeprefix(self.prefix) for name in self.unused)
            lines.append(f"  in the file, but not used: {_by_module(inner)}")
        return "\n".join(map(printable, lines))  # the names come from an untrusted file

    def table(self) -> str:
        """Return a line for each tensor: its name, and loaded, adapted, missing, other shape or unused.

        The order is that of the lists `loaded`, `missing`, `other_shape`, `unused`.
        """
        source = {ours: f"loaded from {theirs}" for ours, theirs in self.renamed}
        rows = [
            (name, "adapted" if name in self.adapted else source.get(name, "loaded")) for name in self.loaded
        ]
        rows += [(name, "missing: left as initialized") for name in self.missing]
        rows += [
            (name, f"other shape: file {a}, network {b}; left as initialized")
            for name, a, b in self.other_shape
        ]
        rows += [(name, "unused") for name in self.unused]
        rows = [(printable(name), printable(outcome)) for name, outcome in rows]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:{width}}  {outcome}" for name, outcome in rows)


def _by_module(names: Iterable[str]) -> str:
    counts = Counter(name.split(".")[0] for name in names)
    return ", ".join(f"{top} ({count} tensor{'s' * (count > 1)})" for top, count in counts.items())
