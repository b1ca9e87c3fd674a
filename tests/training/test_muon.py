"""training/muon.py: what its update is made of, beside the singular values and beside AdamW."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy

import reslab
from reslab.networks.precision import UNCOMPILED
from reslab.training.muon import ADAMW_BETAS, COEFFICIENTS, NEWTON_SCHULZ_STEPS, Muon, orthogonalize
from reslab.training.optimizer import make_optimizer

DTYPES = (torch.bfloat16, torch.float32)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(4, 48),
    columns=st.integers(4, 48),
    seed=st.integers(0, 999),
    scale=st.floats(1e-6, 1e6),
    dtype=st.sampled_from(DTYPES),
)
def test_singular_values_come_near_one_and_the_singular_vectors_stay(rows, columns, seed, scale, dtype):
    draw = torch.Generator().manual_seed(seed)
    few = min(rows, columns)
    u = torch.linalg.qr(torch.randn(rows, few, generator=draw))[0]
    v = torch.linalg.qr(torch.randn(columns, few, generator=draw))[0]
    values = 0.2 + 0.8 * torch.rand(few, generator=draw)  # of one order of magnitude

    made = orthogonalize(u @ torch.diag(values) @ v.T * scale, dtype)

    inner = u.T @ made @ v  # diagonal where the vectors are the same
    assert made.shape == (rows, columns)
    assert made.dtype == torch.float32
    assert inner.diagonal().min() > 0.5
    assert inner.diagonal().max() < 1.3
    digits = {torch.bfloat16: 0.05, torch.float32: 1e-4}[dtype]
    assert (inner - torch.diag(inner.diagonal())).abs().max() < digits


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 48), columns=st.integers(1, 48), seed=st.integers(0, 999), rank=st.integers(1, 48))
def test_fp32_singular_values_follow_the_polynomial(rows, columns, seed, rank):
    draw = torch.Generator().manual_seed(seed)
    factors = torch.randn(rows, rank, generator=draw), torch.randn(rank, columns, generator=draw)
    matrix = (factors[0] @ factors[1]).double()
    u, values, v = torch.linalg.svd(matrix, full_matrices=False)
    values = values / (matrix.norm() + 1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(NEWTON_SCHULZ_STEPS):
        values = a * values + b * values**3 + c * values**5
    torch.testing.assert_close(
        orthogonalize(matrix.float()).double(), u @ torch.diag(values) @ v, rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_zero_gradient_gives_a_zero_update(dtype):
    assert torch.equal(orthogonalize(torch.zeros(8, 20), dtype), torch.zeros(8, 20))


def test_rounded_fp32_products_use_the_iteration_on_the_matrix():
    matrix = torch.randn(48, 400, generator=torch.Generator().manual_seed(0))
    made, before = {}, torch.get_float32_matmul_precision()
    try:
        for asked in ("medium", "highest"):
            torch.set_float32_matmul_precision(asked)
            x = matrix / (matrix.norm() + 1e-7)
            for _ in range(NEWTON_SCHULZ_STEPS):
                gram = x @ x.T
                step = torch.addmm(gram, gram, gram, beta=COEFFICIENTS[1], alpha=COEFFICIENTS[2])
                x = torch.addmm(x, step, x, beta=COEFFICIENTS[0])
            made[asked] = orthogonalize(matrix), x
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(*made["medium"])
    assert not torch.equal(*made["highest"])
    torch.testing.assert_close(*made["highest"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("precision", UNCOMPILED.values(), ids=str)
def test_the_iterations_use_the_dtype_of_the_precision(precision, monkeypatch):
    dtypes = set()

    def recording(matrix, dtype):
        dtypes.add(dtype)
        return orthogonalize(matrix, dtype)

    monkeypatch.setattr("reslab.training.muon.orthogonalize", recording)
    network = nn.Conv2d(3, 4, 3)
    optimizer = make_optimizer(network, reslab.Recipe(), precision)
    network(torch.randn(2, 3, 5, 5)).sum().backward()
    optimizer.step()
    assert dtypes == {torch.float32 if precision.number_format == "fp32" else torch.bfloat16}


def test_other_parameters_than_convolutions_follow_adamw():
    ours = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2))
    theirs = copy.deepcopy(ours)
    muon = Muon(ours.parameters(), 0.01, weight_decay=0.1)
    adamw = torch.optim.AdamW(theirs.parameters(), 0.01, betas=ADAMW_BETAS, weight_decay=0.1)
    for step in range(20):
        images, labels = torch.randn(8, 6, generator=torch.Generator().manual_seed(step)), torch.arange(8) % 2
        for network, optimizer in ((ours, muon), (theirs, adamw)):
            optimizer.zero_grad()
            cross_entropy(network(images), labels).backward()
            optimizer.step()
    for mine, reference in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-4, atol=1e-5)


def test_the_first_step_of_a_convolution_is_its_orthogonalized_gradient():
    convolution = nn.Conv2d(3, 8, 3, bias=False)
    before = convolution.weight.detach().clone()
    convolution(torch.randn(2, 3, 6, 6)).square().sum().backward()
    gradient = convolution.weight.grad.permute(0, 2, 3, 1).flatten(1)
    Muon(convolution.parameters(), 0.5).step()
    step = ((before - convolution.weight.detach()) / 0.5).permute(0, 2, 3, 1).flatten(1)
    values = torch.linalg.svdvals(step)
    assert values.max() < 1.3
    # the averaged gradient and the gradient itself point the same way in the first step
    overlap = (step * gradient).sum() / torch.linalg.svdvals(gradient).sum()
    assert overlap > 0.6


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.bfloat16, 2e-3), (torch.float32, 1e-5)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_memory_layout_of_the_weights_only_changes_rounding(layout, dtype, rounding):
    steps = []
    for memory_format in (torch.contiguous_format, layout):
        torch.manual_seed(0)
        network = reslab.cifar_resnet20(num_classes=2).to(memory_format=memory_format)
        optimizer = Muon(network.parameters(), 0.05, dtype=dtype)
        network(torch.randn(4, 3, 32, 32)).sum().backward()
        optimizer.step()
        steps.append(network.layer3[0].conv2.weight.detach().clone())
    torch.testing.assert_close(*steps, rtol=0, atol=rounding)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_state_dict_and_a_copy_continue_to_the_same_weights(dtype):
    def make():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 16, 2))
        return network, Muon(network.parameters(), 0.02, weight_decay=0.1, dtype=dtype)

    def train(network, optimizer, steps):
        for step in steps:
            images = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            cross_entropy(network(images), torch.tensor([0, 1, 0, 1])).backward()
            optimizer.step()

    whole, other, third = make(), make(), make()
    train(*whole, range(6))
    train(*other, range(3))
    third[0].load_state_dict(other[0].state_dict())
    third[1].load_state_dict(copy.deepcopy(other[1].state_dict()))
    copied = copy.deepcopy(other)
    for continued in (third, copied):
        train(*continued, range(3, 6))
        for mine, reference in zip(continued[0].parameters(), whole[0].parameters(), strict=True):
            assert torch.equal(mine, reference)


def test_step_returns_the_loss_of_the_closure():
    layer = nn.Linear(2, 1)
    optimizer = Muon(layer.parameters(), 0.001)

    def closure():
        optimizer.zero_grad()
        loss = layer(torch.ones(1, 2)).square().sum()
        loss.backward()
        return loss

    before = optimizer.step(closure)
    assert closure().item() < before.item()
