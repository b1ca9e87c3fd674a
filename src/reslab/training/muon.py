"""Muon: an optimizer that makes the updates of convolutions orthogonal (Jordan 2024)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

NEWTON_SCHULZ_STEPS = 3
# of x, x^3 and x^5 in Newton-Schulz (Jordan 2024): steep at 0, close to 1 from there up to 1.2
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ADAMW_BETAS, ADAMW_EPSILON = (0.9, 0.95), 1e-8


class Muon(torch.optim.Optimizer):
    """Muon for convolutions, AdamW for all other parameters.

    Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks",
    https://kellerjordan.github.io/posts/muon. A kernel (out_channels, in_channels, kH, kW) counts as a matrix
    (out_channels, in_channels * kH * kW). Its momentum has a few large singular values and many small ones.
    Newton-Schulz iterations bring all of them close to 1, so that rare directions are learned as fast as
    common ones. Weight decay is decoupled in both parts (Loshchilov and Hutter 2019). torch.optim.Muon takes
    matrices only.

    Args:
        params: parameters, or groups of them with their own `lr`, `weight_decay` and `momentum`. Those of
            four dimensions count as convolutions.
        lr: learning rate.
        momentum: of the convolutions, with Nesterov's look-ahead.
        weight_decay: decoupled, times the learning rate.
        dtype: of the iterations: torch.float32 or torch.bfloat16. A processor without bf16 takes a hundred
            times as long for the second.
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

    def __getstate__(self) -> dict[str, Any]:  # torch's own leaves out unknown attributes
        return super().__getstate__() | {"dtype": self.dtype}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient, in place.

        Args:
            closure: computes the gradients and returns the loss; called first.

        Returns:
            What `closure` returns; None without one.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    update = self._muon_update if parameter.dim() == 4 else self._adamw_update
                    parameter.add_(update(parameter, group), alpha=-group["lr"])
        return loss

    def _muon_update(self, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        """Return the update of a kernel before the learning rate. Its momentum in `state` changes."""
        state = self.state[parameter]
        if not state:
            state["average"] = torch.zeros_like(parameter)
        gradient, momentum = parameter.grad, group["momentum"]
        assert gradient is not None
        average = state["average"].lerp_(gradient, 1 - momentum)
        ahead = gradient.lerp(average, momentum)  # Nesterov
        matrix = ahead.permute(0, 2, 3, 1).flatten(1)  # (out_channels, kH * kW * in_channels), a view
        rows, columns = matrix.shape
        update = orthogonalize(matrix, self.dtype) * max(1.0, rows / columns) ** 0.5
        out, _, height, width = parameter.shape
        return update.view(out, height, width, -1).permute(0, 3, 1, 2)  # (out_channels, in_channels, kH, kW)

    def _adamw_update(self, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        """Return AdamW's update before the learning rate. The averages in `state` change."""
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["average"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        gradient = parameter.grad
        assert gradient is not None
        state["step"] += 1
        average = state["average"].lerp_(gradient, 1 - ADAMW_BETAS[0])
        square = state["square"].lerp_(gradient.square(), 1 - ADAMW_BETAS[1])
        mean, variance = (1 - beta ** state["step"].item() for beta in ADAMW_BETAS)
        return (average / mean) / ((square / variance).sqrt() + ADAMW_EPSILON)


def orthogonalize(matrix: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the matrix with singular values close to 1 and the same singular vectors.

    Values not far below the largest end between 0.7 and 1.2.

    Args:
        matrix: (rows, columns).
        dtype: of the iterations.

    Returns:
        float32 (rows, columns).
    """
    rows, columns = matrix.shape
    x = matrix.to(dtype)
    if rows > columns:
        x = x.T
    x = x / (x.norm() + 1e-7)  # singular values at most 1
    exact = dtype == torch.float32 and torch.get_float32_matmul_precision() == "highest"
    x = _newton_schulz_gram(x) if exact else _newton_schulz(x)
    return (x.T if rows > columns else x).float()


def _newton_schulz(x: Tensor) -> Tensor:
    """Return x (rows, columns) after the Newton-Schulz steps, of the same shape.

    It iterates on the matrix itself: each step corrects the rounding of the one before.
    """
    first, third, fifth = COEFFICIENTS
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.T  # (rows, rows)
        gram = torch.addmm(gram, gram, gram, beta=third, alpha=fifth)
        x = torch.addmm(x, gram, x, beta=first)
    return x


def _newton_schulz_gram(x: Tensor) -> Tensor:
    """Return the same as `_newton_schulz`, from iterations on x @ x.T (rows, rows), with two long products.

    Every step is a polynomial of x @ x.T. It takes half the time for a 3x3 convolution and is exact to four
    digits in fp32; bf16 has too few digits for it.
    """
    first, third, fifth = COEFFICIENTS

    def polynomial(gram: Tensor) -> Tensor:
        result = torch.addmm(gram, gram, gram, beta=third, alpha=fifth)
        result.diagonal().add_(first)
        return result

    gram = x @ x.T
    product = step = polynomial(gram)
    for _ in range(NEWTON_SCHULZ_STEPS - 1):
        gram = step @ gram @ step
        step = polynomial(gram)
        product = step @ product
    return product @ x
