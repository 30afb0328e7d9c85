"""Short trainings, and which parameters they leave as they were."""

from functools import partial

import torch

from hqdm.training.module import DiffusionModule


def kept_by_training(denoiser, draw):
    """Whether each parameter, and its average, is equal to the bit after three steps, by name.

    With weight decay and an average of the weights.

    Args:
        denoiser: The model.
        draw: Returns the images of a step.
    """
    optimizer = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1)
    module = DiffusionModule(denoiser, optimizer=optimizer, ema_every=1, ema_start=1)
    network = module.denoiser.network
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    optimizer, _ = module.build_optimizer()
    for step in range(1, 4):
        optimizer.zero_grad()
        loss = module.denoiser.loss(draw())
        if loss.requires_grad:
            loss.backward()
        optimizer.step()
        module.ema.after_step(module.denoiser, step)
    averaged = dict(module.averaged.network.named_parameters())
    return {
        name: (torch.equal(p, before[name]), torch.equal(averaged[name], before[name]))
        for name, p in network.named_parameters()
    }
