"""Muon and Adam in one optimiser, against the two of torch."""

from copy import deepcopy

import torch
from torch import nn


def test_kernels_move_as_matrices_under_muon_and_the_rest_under_adam(load):
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(12, 4)).double()
    other = deepcopy(network)
    lr, muon_lr = 0.01, 0.002
    both = load("muon").MuonAdam(network.parameters(), lr=lr, muon_lr=muon_lr)
    kernels = [layer.weight for layer in (other[0], other[2])]
    matrices = [nn.Parameter(kernel.detach().flatten(1)) for kernel in kernels]
    muon = torch.optim.Muon(matrices, lr=muon_lr, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    adam = torch.optim.Adam([other[0].bias, other[2].bias], lr=lr, betas=(0.9, 0.99))

    for step in range(4):
        x = torch.randn(5, 2, 4, 4).double()
        if step == 2:  # as a schedule does
            both.param_groups[0]["lr"] = adam.param_groups[0]["lr"] = lr / 2
            muon.param_groups[0]["lr"] = muon_lr / 2

        def closure(x=x):
            both.zero_grad()
            loss = network(x).square().mean()
            loss.backward()
            return loss

        both.step(closure)
        other.zero_grad()
        other(x).square().mean().backward()
        for kernel, matrix in zip(kernels, matrices, strict=True):
            matrix.grad = kernel.grad.flatten(1)
        muon.step()
        adam.step()
        for own, expected in zip(network.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(own, expected, rtol=1e-12, atol=1e-14)
