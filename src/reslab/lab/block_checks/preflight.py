"""check_block(): test a block before anything is trained; the first problem is reported"""

from __future__ import annotations

import contextlib
import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reslab.errors import NetworkError, UsageError, nearest
from reslab.networks.blocks import Block
from reslab.networks.from_text import BLOCK_CLASSES, BLOCKS
from reslab.networks.resnet import FAMILY
from reslab.networks.user_code import block_from_file
from reslab.randomness import preserve_rng_state
from reslab.text import printable

from . import behavior, construction, execution, gradients, output
from .trial import BlockFailedError, Problem, small_trials, trials_in

TEMPLATE = Path(__file__).parents[1] / "starters" / "my_block.py"
# a check takes a Trial, returns notes, and raises BlockFailedError
AT_EVERY_PLACE = {
    "arguments": construction.check_arguments,
    "the constructor": construction.check_constructor,
    "registered weights": construction.check_registration,
    "shapes": output.check_shapes,
}
ON_SMALL_IMAGES = {
    "odd sizes": output.check_odd_sizes,
    "a batch of one": output.check_batch_of_one,
    "equal blocks": behavior.check_equal_blocks,
    "eval mode": behavior.check_eval_mode,
    "images by themselves": behavior.check_single_images,
    "train mode": behavior.check_train_mode,
    "labels": behavior.check_labels,
    "gradients": gradients.check_gradients,
    "bf16 and channels_last": execution.check_precisions,
    "devices": execution.check_devices,
    "copies and files": execution.check_copies,
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
        return "\n".join(printable(line) for text in lines for line in text.splitlines())


def check_block(block: Block | str, network: str = "resnet18") -> BlockCheck:
    """Test a block at the sizes of a network, before anything is trained. It takes about a second.

    The checks run in this order and stop at the first problem:

    - its arguments and constructor, and weights that are registered once, in one block only;
    - the output's shape at every place of the network and for odd sides, a batch of one, finite values;
    - equal outputs for equal images and seeds, which shared state would change;
    - eval mode: the same output twice, each image by itself, nothing kept for the training;
    - train mode, which may differ from eval mode at random and by batch norm only;
    - labels of the batch, which its code could read from its callers' variables;
    - a gradient for every parameter, at the latest after three optimizer steps;
    - bf16 and channels_last, another device, copies, and saved weights.

    The check for labels finds code that looks for variables by the usual names. It does not find labels that
    the user's own code passes on in a global variable or a file.

    All random states are restored. What the block prints is not shown.

    Args:
        block: a callable (in_channels, out_channels, stride) -> module that maps (N, in_channels, H, W) to
            (N, out_channels, H/stride, W/stride), sides rounded up; or its name. "my_block.py:MyBlock" runs
            that file, "se" and "SEBlock" are a block of reslab, "cifar_resnet20:se" names the network, too.
        network: name of a network of the family, whose channels, strides and sides are used: at 224 pixels,
            or at 32 for the networks of CIFAR.

    Returns:
        The first problem with its block, layer and shapes, or None; notes; and the checks that passed.

    Raises:
        NetworkError: there is no such block or network, or the file does not run.
    """
    if isinstance(block, str):
        network, text = _split(block, network)
    if network not in FAMILY:
        raise NetworkError(
            f"a block cannot be checked in '{network}'",
            "only networks of the family take a block",
            nearest(network, FAMILY),
        )
    name, block = (block, _named(text)) if isinstance(block, str) else (name_of(block), block)
    places = trials_in(network, block, name_of(block))
    plan = [(words, check, places) for words, check in AT_EVERY_PLACE.items()]
    plan += [(words, check, small_trials(places)) for words, check in ON_SMALL_IMAGES.items()]
    notes: list[str] = []
    checked: list[str] = []
    problem = None
    with preserve_rng_state(), contextlib.redirect_stdout(io.StringIO()):
        try:
            for words, check, trials in plan:
                for trial in trials:
                    notes += check(trial)
                checked.append(words)
        except BlockFailedError as failed:
            problem = failed.problem
    return BlockCheck(name, network, problem, tuple(dict.fromkeys(notes)), tuple(checked))


def _split(text: str, network: str) -> tuple[str, str]:
    """Return network and block of "cifar_resnet20:se", or the given network and the text of a block alone."""
    base, _, rest = text.partition(":")
    return (base, rest) if base in FAMILY and rest else (network, text)


def name_of(block: Block) -> str:
    """Return the name of a class or function; of functools.partial that of what it calls."""
    return getattr(getattr(block, "func", block), "__name__", type(block).__name__)


def new_block_file(path: Path) -> None:
    """Write a residual block to a new file, as a template for one's own.

    Raises:
        UsageError: the file exists or cannot be written, or its name does not end in .py.
    """
    if path.suffix != ".py":
        raise UsageError(
            f"{path} is not the name of a Python file",
            "it ends in another suffix",
            "use my_block.py, for instance",
        )
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
        raise NetworkError(
            f"there is no block '{text}'",
            "reslab has no block of this name",
            f"{nearest(text, BLOCKS)}, or a file: my_block.py:MyBlock",
        )
    return blocks[text]
