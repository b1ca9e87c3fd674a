"""Check that a gradient reaches the input and every parameter of a block."""

from __future__ import annotations

import torch

from .trial import Trial

ATTEMPTS = 8  # initial weights and images: a ReLU can be dead, and a random branch dropped, by chance
STEPS = 3  # optimizer steps after which a gate that starts at zero passes a gradient
LEARNING_RATE = 0.1


def check_gradients(trial: Trial) -> list[str]:
    """Train the block for a few steps, and check that the input and every parameter get a gradient.

    Returns:
        A note if a parameter gets its first gradient after a step: it is multiplied by a gate of zero.
    """
    wanted = {name: p for name, p in trial.build().named_parameters() if p.requires_grad}
    at_once: set[str] = set()  # parameters with a gradient in the first step
    later: set[str] = set()
    for attempt in range(ATTEMPTS):
        module = trial.build(attempt)
        for step in range(STEPS + 1):
            x = trial.images(seed=attempt * ATTEMPTS + step)
            run = trial.backward(module, x, seed=attempt)
            if x.grad is None or not x.grad.any():
                raise trial.failed(
                    "no gradient reaches the block's input, so no earlier layer would be trained",
                    "remove detach(), .data, torch.no_grad() or argmax from the way of the input",
                    shapes=f"{tuple(x.shape)} -> {tuple(run.output.shape)}",
                )
            reached = {n for n, p in module.named_parameters() if p.grad is not None and p.grad.any()}
            at_once |= reached if step == 0 else set()
            later |= reached
            if at_once >= wanted.keys():
                return []
            with torch.no_grad():
                for parameter in module.parameters():
                    if parameter.grad is not None:
                        parameter.sub_(LEARNING_RATE * parameter.grad)
    for name, parameter in wanted.items():
        if name not in later:
            layer = name.rpartition(".")[0]
            is_unused = layer and not any(each.startswith(f"layer {layer} ") for each in run.layers)
            unreached = f"no gradient reaches {name}, also after {STEPS} steps"
            raise trial.failed(
                f"{name} is never used" if is_unused else unreached,
                "use it in forward or remove it; remove detach(), .data, torch.no_grad() or argmax after it; "
                "of two factors, only one may start at zero",
                name,
                f"{name} {tuple(parameter.shape)}",
            )
    late = [name for name in wanted if name not in at_once]
    more = f" and {len(late) - 1} more parameters" * (len(late) > 1)
    return [
        f"a gate starts at zero: no gradient reaches {late[0]}{more} in the first step, "
        f"but one does within {STEPS} steps"
    ]
