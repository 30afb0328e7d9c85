"""Errors of the deterministic samplers at 20 network evaluations, on flows that are known exactly.

    python benchmarks/sampler_orders.py [--evaluations 20]

Root mean square error in float64, from t = 1 to t = 0.05 in the cosine schedule, on Gaussian data
and on a mixture of two Gaussians. The orders are tested in `tests/samplers/test_orders.py`.
"""

import argparse

import torch
from rich.console import Console

from hqdm.diffusion.analytic import GaussianDenoiser, MixtureDenoiser
from hqdm.diffusion.schedule import CosineSchedule
from hqdm.samplers.registry import SAMPLERS, build_sampler
from hqdm.utils.tables import Sheet

T_END = 0.05
GRID = "lambda"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--evaluations", type=int, default=20)
    options = parser.parse_args()
    schedule = CosineSchedule()
    mixture = torch.tensor([[0.4, 0.6], [-0.7, 0.5], [0.09, 0.16]], dtype=torch.float64)
    problems = {
        "Gaussian": GaussianDenoiser(
            torch.tensor(0.3).double(), torch.tensor(0.25).double(), schedule
        ),
        "two modes": MixtureDenoiser(*mixture, schedule),
    }
    x1 = torch.linspace(-2, 2, 41, dtype=torch.float64).view(-1, 1, 1, 1)
    start, end = torch.tensor([1.0, T_END], dtype=torch.float64)

    rows = []
    for name, entry in SAMPLERS.items():
        if not entry.network or entry.adaptive:
            continue
        sampler = build_sampler(name)
        if not sampler.reversible:
            continue
        steps = max(1, options.evaluations // sampler.evaluations_per_step)
        sampler = build_sampler(name, steps, GRID)
        results = {p: sampler.run(d, x1, t_end=T_END) for p, d in problems.items()}
        errors = [
            (results[p].x0 - d.flow(x1, start, end)).square().mean().sqrt().item()
            for p, d in problems.items()
        ]
        rows.append((name, str(results["Gaussian"].evaluations), *(f"{e:.1e}" for e in errors)))
    Console().print(Sheet("", ("sampler", "evaluations", *problems), rows).rich())


if __name__ == "__main__":
    main()
