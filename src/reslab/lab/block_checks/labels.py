"""Check that a block cannot read the labels of its batch from its caller's variables."""

from __future__ import annotations

import dis
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from .problem import BlockFailedError
from .trial import SAME, TRIAL_BATCH, Place, Subject, difference, quote

MODULES = ("inspect", "gc")  # they list the variables of callers, and all objects in memory
FRAME_FUNCTIONS = ("_getframe", "_current_frames", "currentframe", "walk_stack", "f_back", "f_locals")


def check_labels(subject: Subject) -> list[str]:
    """Refuse code that reads its callers' variables, and run the block below two lists of labels.

    The user's code is searched: the block, the classes of its layers, and the functions that these name.
    Code of installed packages is not searched. Names put together at run time and labels that the user's
    own code passes on (in a global variable or a file) are not found.
    """
    modules = [subject.build(place) for place in subject.trials]
    for function in _functions(subject.block, modules):
        for found, line in _suspects(function.__code__, function.__globals__):
            raise BlockFailedError(
                f"its code can read the labels of the batch: it uses {found}",
                subject.where(subject.trials[0], line=quote(function.__code__.co_filename, line)),
                "",
                f"remove {found}: a block computes its output from its input alone",
            )
    for place in subject.trials:
        for train in (False, True):
            x, outputs = place.images(TRIAL_BATCH), []
            for first_label in (0, 1):
                labels = (torch.arange(TRIAL_BATCH) + first_label) % 2
                outputs.append(_run_below_labels(subject, place, train, x, labels))
            if difference(*outputs) > SAME:
                raise BlockFailedError(
                    "the output changes with the labels of the batch, read from its caller's variables",
                    subject.where(place),
                    f"{tuple(x.shape)}, labels ({TRIAL_BATCH},), differs by {difference(*outputs):.1%}",
                    "compute the output from the input alone",
                )
    return []


def _run_below_labels(subject: Subject, place: Place, train: bool, images: Tensor, labels: Tensor) -> Tensor:
    """Run a new block while `labels`, `targets` and `batch` are variables of its caller."""
    targets, batch = labels, (images, labels)
    with torch.no_grad():
        output = subject.run(subject.build_trained(place).train(train), images, place)
    del targets, batch
    return output


def _functions(block: Any, modules: list[nn.Module]) -> Iterator[FunctionType]:
    """Yield the user's functions and methods that the block consists of or names, each once."""
    kinds = {type(layer) for module in modules for layer in module.modules()}
    waiting: list[Any] = [getattr(block, "func", block), *sorted(kinds, key=lambda kind: kind.__qualname__)]
    seen: set[int] = set()
    while waiting:
        value = waiting.pop()
        value = getattr(value, "__wrapped__", value)  # below a decorator, a classmethod or a staticmethod
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, type):
            waiting += [each for kind in value.__mro__[:-1] for each in vars(kind).values()]
        elif isinstance(value, FunctionType) and not _is_installed(Path(value.__code__.co_filename)):
            yield value
            names = [name for code in _codes(value.__code__) for name in code.co_names]
            waiting += [value.__globals__[name] for name in names if name in value.__globals__]


def _suspects(code: CodeType, variables: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield (name, line) of each use of MODULES or FRAME_FUNCTIONS in the code."""
    for each in _codes(code):
        for instruction in dis.get_instructions(each):
            name, line = instruction.argval, (instruction.positions and instruction.positions.lineno) or 0
            if not isinstance(name, str):
                continue
            is_import = instruction.opname == "IMPORT_NAME"
            value = variables.get(name) if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME") else None
            origin = (
                name if is_import else getattr(value, "__module__", None) or getattr(value, "__name__", "")
            )
            if origin in MODULES or (name in FRAME_FUNCTIONS and instruction.opname != "LOAD_CONST"):
                yield name, line


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yield the code and that of all functions defined inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _is_installed(file: Path) -> bool:
    folders = (sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
    return any(file.is_relative_to(folder) for folder in folders)
