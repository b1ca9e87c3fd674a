"""Muon: an update that is equally large in every direction of a weight matrix, instead of in every weight."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

ITERATIONS = 3
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # Jordan 2024: of x, x^3, x^5; steep at zero, near 1 up to 1.2
BETAS, EPSILON = (0.9, 0.95), 1e-8  # of AdamW


class Muon(torch.optim.Optimizer):
    """Momentum made orthogonal for the convolutions (Jordan 2024, "Muon"), AdamW for all other parameters.

    A convolution (out_channels, in_channels, kH, kW) counts as a matrix of out_channels rows. Its averaged
    gradient has a few large singular values and many small ones; Newton-Schulz iterations bring all of them
    close to 1, so that rare directions are learned as fast as common ones. Weight decay is decoupled in both
    parts (Loshchilov 2019). Groups have `lr`, `weight_decay` and `momentum`. `dtype`: what the iterations are
    computed in, bfloat16 or float32; a processor without bf16 takes a hundred times as long for the first.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.dtype = dtype
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    def __getstate__(self) -> dict[str, Any]:  # torch's own leaves out what it does not know
        return super().__getstate__() | {"dtype": self.dtype}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient; `closure` computes the loss, if given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    update = self._orthogonal if parameter.dim() == 4 else self._adam
                    parameter.add_(update(parameter, group), alpha=-group["lr"])
        return loss

    def _orthogonal(self, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["average"] = torch.zeros_like(parameter)
        gradient, momentum = parameter.grad, group["momentum"]
        assert gradient is not None
        average = state["average"].lerp_(gradient, 1 - momentum)
        ahead = gradient.lerp(average, momentum)  # Nesterov's look ahead
        matrix = ahead.permute(0, 2, 3, 1).flatten(1)  # (out_channels, kH * kW * in_channels), a view
        rows, columns = matrix.shape
        update = orthogonal(matrix, self.dtype) * max(1.0, rows / columns) ** 0.5
        out, _, height, width = parameter.shape
        return update.view(out, height, width, -1).permute(0, 3, 1, 2)

    def _adam(self, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["average"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        gradient = parameter.grad
        assert gradient is not None
        state["step"] += 1
        average = state["average"].lerp_(gradient, 1 - BETAS[0])
        square = state["square"].lerp_(gradient.square(), 1 - BETAS[1])
        mean, variance = (1 - beta ** state["step"].item() for beta in BETAS)
        return (average / mean) / ((square / variance).sqrt() + EPSILON)


def orthogonal(matrix: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """matrix (rows, columns) -> fp32 of the same shape and singular vectors, its singular values near 1.

    Those that were not far below the largest end between 0.7 and 1.2.
    """
    rows, columns = matrix.shape
    x = matrix.to(dtype)
    if rows > columns:
        x = x.T
    x = x / (x.norm() + 1e-7)  # singular values at most 1
    exact = dtype == torch.float32 and torch.get_float32_matmul_precision() == "highest"
    x = _by_gram(x) if exact else _step_by_step(x)
    return (x.T if rows > columns else x).float()


def _step_by_step(x: Tensor) -> Tensor:
    """Newton-Schulz on the matrix itself, which forgives the rounding of the step before."""
    first, third, fifth = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = x @ x.T
        gram = torch.addmm(gram, gram, gram, beta=third, alpha=fifth)
        x = torch.addmm(x, gram, x, beta=first)
    return x


def _by_gram(x: Tensor) -> Tensor:
    """The same on x @ x.T, (rows, rows): every step is a polynomial of it, so the long side is met but twice.

    About half of the work for a 3x3 convolution, to four digits in fp32; bf16 has too few for it.
    """
    first, third, fifth = COEFFICIENTS

    def polynomial(gram: Tensor) -> Tensor:
        made = torch.addmm(gram, gram, gram, beta=third, alpha=fifth)
        made.diagonal().add_(first)
        return made

    gram = x @ x.T
    steps = step = polynomial(gram)
    for _ in range(ITERATIONS - 1):
        gram = step @ gram @ step
        step = polynomial(gram)
        steps = step @ steps
    return steps @ x
