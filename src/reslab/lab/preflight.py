"""check_block(): test a block before anything is trained; the first problem is reported"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reslab.errors import NetworkError, UsageError, nearest
from reslab.networks.blocks import Block
from reslab.networks.from_text import BLOCK_CLASSES, BLOCKS
from reslab.networks.resnet import FAMILY
from reslab.networks.user_code import block_from_file
from reslab.text import printable

from .block_checks.construction import check_constructor, check_registration
from .block_checks.copies import check_copies
from .block_checks.gradients import check_gradients
from .block_checks.labels import check_labels
from .block_checks.memory import check_memory
from .block_checks.modes import check_determinism, check_independence, check_train_mode
from .block_checks.precisions import check_devices, check_precisions
from .block_checks.problem import BlockFailedError, Problem
from .block_checks.shapes import check_batch_of_one, check_odd_sizes, check_shapes, check_values
from .block_checks.surroundings import check_surroundings, restored_settings
from .block_checks.trial import Subject, places_in

TEMPLATE = Path(__file__).parent / "starters" / "my_block.py"
CHECKS: dict[str, Callable[[Subject], list[str]]] = {
    "the constructor": check_constructor,
    "registered weights": check_registration,
    "shapes": check_shapes,
    "odd sizes": check_odd_sizes,
    "a batch of one": check_batch_of_one,
    "values": check_values,
    "global state": check_surroundings,
    "labels": check_labels,
    "gradients": check_gradients,
    "the same answer twice": check_determinism,
    "images by themselves": check_independence,
    "state between batches": check_memory,
    "train and eval mode": check_train_mode,
    "bf16 and channels_last": check_precisions,
    "devices": check_devices,
    "copies and files": check_copies,
}


@dataclass(frozen=True)
class BlockCheck:
    """Result of check_block().

    Attributes:
        name: the block as it was named.
        network: the network of the family whose sizes were used.
        problem: the first cause that was found; None if the block passes.
        notes: facts about the block that spoil no comparison, but that its author should know.
        checked: the checks that passed, in their order.
    """

    name: str
    network: str
    problem: Problem | None
    notes: tuple[str, ...]
    checked: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """True if no problem was found."""
        return self.problem is None

    def as_json(self) -> dict[str, Any]:
        """Return the attributes and "passed"; "problem" is None or its cause, where, shapes and do."""
        return {
            "block": self.name,
            "network": self.network,
            "passed": self.passed,
            "problem": self.problem and asdict(self.problem),
            "notes": list(self.notes),
            "checked": list(self.checked),
        }

    def __str__(self) -> str:
        if self.problem is None:
            lines = [f"{self.name} can be compared in {self.network}"]
        else:
            lines = [f"{self.name} cannot be compared in {self.network}: {self.problem.cause}"]
            lines += [f"  where:  {self.problem.where}"]
            lines += [f"  shapes: {self.problem.shapes}"] * bool(self.problem.shapes)
            lines += [f"  do:     {self.problem.do}"]
        lines += [f"  passed: {', '.join(self.checked) or 'nothing yet'}"]
        lines += [f"  note:   {note}" for note in self.notes]
        return "\n".join(map(printable, lines))


def check_block(block: Block | str, network: str = "resnet18") -> BlockCheck:
    """Test a block at the sizes of a network, before anything is trained.

    Args:
        block: a callable (in_channels, out_channels, stride) -> module that maps (N, in_channels, H, W) to
            (N, out_channels, H/stride, W/stride), sides rounded up; or a name: "my_block.py:MyBlock" runs
            that file, "se" or "BasicBlock" is a block of reslab.
        network: name of a network of the family, whose channels, strides and sides are used.

    Returns:
        The first problem with its block, layer and shapes, or none; notes; and what was checked.

    Raises:
        NetworkError: there is no such block or network, or the file does not run.
    """
    if network not in FAMILY:
        raise NetworkError(
            f"a block cannot be checked in '{network}'",
            "only networks of the family take a block",
            nearest(network, FAMILY),
        )
    name, block = (block, _named(block)) if isinstance(block, str) else (name_of(block), block)
    subject = Subject(block, name_of(block), places_in(network))
    notes: list[str] = []
    checked: list[str] = []
    with restored_settings(), contextlib.redirect_stdout(io.StringIO()):
        try:
            for words, check in CHECKS.items():
                notes += check(subject)
                checked.append(words)
        except BlockFailedError as failed:
            return BlockCheck(name, network, failed.problem, tuple(dict.fromkeys(notes)), tuple(checked))
    return BlockCheck(name, network, None, tuple(dict.fromkeys(notes)), tuple(checked))


def name_of(block: Block) -> str:
    """Return the name of a class or function; of functools.partial that of what it calls."""
    return getattr(getattr(block, "func", block), "__name__", type(block).__name__)


def new_block_file(path: Path) -> None:
    """Write a residual block to a new file, as a template for one's own.

    Raises:
        UsageError: the file exists or cannot be written, or its name does not end in .py.
    """
    if path.suffix != ".py":
        raise UsageError(f"{path} is not the name of a Python file", "", "give a name such as my_block.py")
    try:
        with open(path, "x", encoding="utf-8") as file:  # x: never overwrite a block
            file.write(TEMPLATE.read_text(encoding="utf-8"))
    except FileExistsError:
        raise UsageError(
            f"{path} exists already", "a file of yours is never overwritten", "give another name"
        ) from None
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written", str(error.strerror), "give a path in a folder of your own"
        ) from None


def _named(text: str) -> Block:
    name, _, rest = text.partition(":")
    if name.endswith(".py"):
        return block_from_file(Path(name), rest)
    blocks = BLOCKS | BLOCK_CLASSES
    if text not in blocks:
        raise NetworkError(f"there is no block '{text}'", "", f"{nearest(text, BLOCKS)}, or my_block.py:NAME")
    return blocks[text]
