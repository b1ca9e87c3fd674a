"""Check that a block can be copied, and saved and loaded into a new one."""

from __future__ import annotations

import copy
import io

import torch
from torch import Tensor, nn

from .construction import plain_attributes
from .memory import fingerprint, load
from .problem import BlockFailedError
from .trial import SAME, TRIAL_BATCH, Place, Subject, difference, reason


def check_copies(subject: Subject) -> list[str]:
    """Copy a block after a training pass, and load its saved weights into a block of another seed."""
    for place in subject.trials:
        module, x = subject.build_trained(place).train(), place.images(TRIAL_BATCH)
        subject.run(module, x, place)
        copied = _copy(subject, place, module)
        loaded = load(subject, place, _saved(subject, place, module), subject.build_trained(place, seed=1))
        with torch.no_grad():
            expected = subject.run(module.eval(), x, place)
            for other, words in ((copied, "a copy"), (loaded, "a block with its saved weights")):
                output = subject.run(other.eval(), x, place)
                if difference(output, expected) > SAME:
                    raise BlockFailedError(
                        f"{words} gives another output",
                        subject.where(place, attribute=_differing_attribute(module, other)),
                        f"{tuple(x.shape)} -> {tuple(expected.shape)}, "
                        f"differs by {difference(output, expected):.1%}",
                        "register what the output depends on: nn.Parameter or self.register_buffer(...)",
                    )
    return []


def _copy(subject: Subject, place: Place, module: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(module)
    except Exception as error:
        raise BlockFailedError(
            f"it cannot be copied after a training pass: {reason(error)}",
            subject.where(place, attribute=_attribute_without_copy(module)),
            "",
            "keep locks, open files and results of a pass out of attributes; y.detach() can be copied",
        ) from error


def _attribute_without_copy(module: nn.Module) -> str:
    for path, value in plain_attributes(module):
        try:
            copy.deepcopy(value)
        except Exception:  # noqa: BLE001  any class of the user's may refuse
            return path
    return ""


def _saved(subject: Subject, place: Place, module: nn.Module) -> nn.Module:
    """Return the module after its state dict went through a file that may hold tensors alone."""
    for name, value in module.state_dict().items():
        if not isinstance(value, Tensor):
            raise BlockFailedError(
                f"{name} cannot be saved: a file of weights holds tensors, not {type(value).__name__}",
                subject.where(place, tensor=name),
                "",
                "keep settings as plain attributes that the constructor sets",
            )
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    restored = subject.build_trained(place)
    restored.load_state_dict(torch.load(file, weights_only=True))
    return restored


def _differing_attribute(module: nn.Module, other: nn.Module) -> str:
    values = dict(plain_attributes(other))
    for path, value in plain_attributes(module):
        if fingerprint(value) != fingerprint(values.get(path)) and not callable(value):
            return path
    return ""
