"""Muon for the kernels of convolutions and linear layers, Adam for all other parameters.

`torch.optim.Muon` takes matrices only: a kernel (out, in, h, w) is the matrix (out, in h w).
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn


class MuonAdam(torch.optim.Adam):
    """An optimiser as `model.optimizer` of a configuration.

    Args:
        params: The parameters.
        lr: Learning rate of Adam.
        betas: Decay rates of Adam's moments.
        muon_lr: Learning rate of Muon, in proportion to the root mean square of an update of Adam.
        momentum: Momentum of Muon.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        muon_lr: float = 1e-3,
        momentum: float = 0.95,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas)
        (group,) = self.param_groups
        self.kernels = [p for p in group["params"] if p.ndim >= 2 and min(p.flatten(1).shape) > 1]
        # Matrices that share their memory with the kernels.
        self.matrices = [nn.Parameter(p.detach().flatten(1)) for p in self.kernels]
        self.muon = torch.optim.Muon(
            self.matrices,
            lr=muon_lr,
            weight_decay=0.0,
            momentum=momentum,
            adjust_lr_fn="match_rms_adamw",
        )
        self.ratio = muon_lr / lr

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Take a step of both; a schedule of the learning rate changes both in proportion."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for kernel, matrix in zip(self.kernels, self.matrices, strict=True):
            matrix.grad = None if kernel.grad is None else kernel.grad.flatten(1)
            kernel.grad = None
        self.muon.param_groups[0]["lr"] = self.ratio * self.param_groups[0]["lr"]
        self.muon.step()
        super().step()
        return loss
