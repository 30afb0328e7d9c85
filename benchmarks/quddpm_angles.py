"""States from the published angles of QuDDPM, beside the data and the states published with them.

    python benchmarks/quddpm_angles.py PATH [--task ising] [--n 10000] [--seed 0] [--write FILE]

PATH is a checkout of github.com/Francis-Hsu/QuantGenMdl (Zhang et al., PRL 132, 100602). A file of
angles has one row for each step, that of step 1 first; a row has those of each layer in turn, first
of RX on every qubit, ancillas before data, then of RY. The files of states have step 0 first.

The states of "angles" start from Haar-random kets; each measurement has new random numbers. The
training of `ising` had one key of the random generator for all steps, so that a sample had the
same Gumbel numbers in every measurement: all outcomes of the published states are those of
`jax.random.PRNGKey(42)`. The row "same numbers" has other numbers, the same at every step.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from speed.report import ABSENT, Table
from torch import Tensor

from hqdm.states.density import check_kets, haar_kets, normalised
from hqdm.states.ensembles import build_ensemble
from hqdm.states.models import MeasuredCircuit
from hqdm.states.observables import bloch, magnetisation, populations
from hqdm.study.statistics import mean_interval
from hqdm.utils.checks import whole
from hqdm.utils.errors import HQDMError, about
from hqdm.utils.seeds import generator

COMMIT = "afa16b893465aae07d5a4f669a44d18bc4016395"
"""The commit whose files have this layout."""

DATA, PRIOR, OUTCOMES = range(3)  # random streams
LEAST = 2  # states of a mean with an interval


@dataclass(frozen=True)
class Task:
    """A task of the paper.

    Attributes:
        angles: File of the angles, under `data`.
        states: File of the states generated from test inputs.
        sizes: n_qubits, n_steps, n_ancillas, n_layers.
        score: A number for each ket.
        label: What the number is.
        ensemble: Name of the data.
        options: Further options of the ensemble.
        same_numbers: Whether measurements of one sample had the same random numbers in training.
    """

    angles: str
    states: str
    sizes: tuple[int, int, int, int]
    score: Callable[[Tensor], Tensor]
    label: str
    ensemble: str
    options: dict[str, Any] = field(default_factory=dict)
    same_numbers: bool = False


def population(index: int) -> Callable[[Tensor], Tensor]:
    """The score of the probability of one basis state."""
    return lambda kets: populations(kets)[:, index]


OF_ONE = {"score": population(0), "label": "F0", "ensemble": "cluster", "options": {"scale": 0.08}}
OF_TWO = {**OF_ONE, "options": {"scale": 0.06}}
TASKS = {
    "cluster_1q": Task(
        angles="cluster/n1/QDDPMcluster0params_n1na1T20L4_mmd.npy",
        states="cluster/n1/QDDPMcluster0testGen_n1na1T20L4_mmd.npy",
        sizes=(1, 20, 1, 4),
        **OF_ONE,
    ),
    "cluster_2q": Task(
        angles="cluster/n2/QDDPMcluster0params_n2na1T20L6_mmd.npy",
        states="cluster/n2/QDDPMcluster0testGen_n2na1T20L6_mmd.npy",
        sizes=(2, 20, 1, 6),
        **OF_TWO,
    ),
    "circle": Task(
        angles="circle/QDDPMcircleYparams_n1na2T40L6_wd.npy",
        states="circle/QDDPMcircleYtestGen_n1na2T40L6_wd.npy",
        sizes=(1, 40, 2, 6),
        score=lambda kets: bloch(kets)[:, 1].square(),
        label="<Y>^2",
        ensemble="circle",
    ),
    "noise": Task(
        angles="noise/QDDPMcorrNoiseparams_n2na2T20L6_mmd.npy",
        states="noise/QDDPMcorrNoisetestGen_n2na2T20L6_mmd.npy",
        sizes=(2, 20, 2, 6),
        score=population(2),
        label="F10",
        ensemble="correlated_noise",
    ),
    "ising": Task(
        angles="phase/QDDPMtfimparams_n4na2T30L12N100.npy",
        states="phase/QDDPMtfimtestGen_n4na2T30L12N100.npy",
        sizes=(4, 30, 2, 12),
        score=lambda kets: magnetisation(kets, absolute=True),
        label="<|M|>",
        ensemble="ising",
        same_numbers=True,
    ),
    "qdt": Task(
        angles="qdt/QDTcluster0params_n2na1L120_mmd.npy",
        states="qdt/QDTcluster0testGen_n2na1L120_mmd.npy",
        sizes=(2, 1, 1, 120),
        **OF_TWO,
    ),
    "qgan": Task(
        angles="qgan/QGANcluster0paramsGen_n2na1Lg120Lc16_cy5.npy",
        states="qgan/QGANcluster0testgen_n2na1Lg120Lc16.npy",
        sizes=(2, 1, 1, 120),
        **OF_TWO,
    ),
}


def read(file: Path, size: int, per: str) -> np.ndarray:
    """The array of a file.

    Args:
        file: A `.npy` file.
        size: The number of which its number of values is a multiple.
        per: What has this number of values.

    Raises:
        HQDMError: If there is no such file, it holds other values, or its size is another.
    """
    try:
        array = np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise HQDMError(f"{file} cannot be read as .npy: name a checkout of QuantGenMdl") from error
    if array.dtype.kind not in "fc" or not np.isfinite(array).all():
        raise HQDMError(f"{file} holds {array.dtype}: expected finite floating-point numbers")
    if not array.size or array.size % size:
        raise HQDMError(f"{file} has shape {array.shape}: expected {size} numbers per {per}")
    return array


def model_of(task: Task, folder: Path) -> MeasuredCircuit:
    """The backward model with the angles of a file, in float64.

    Raises:
        HQDMError: As `read`, or if the file has another number of steps.
    """
    n_qubits, n_steps, n_ancillas, n_layers = task.sizes
    n_wires, file = n_qubits + n_ancillas, folder / "data" / task.angles
    rows = read(file, 2 * n_wires * n_layers, "step").reshape(-1, n_layers, 2, n_wires)
    if len(rows) != n_steps:
        raise HQDMError(f"{file} has the angles of {len(rows)} steps: expected {n_steps}")
    model = MeasuredCircuit(n_qubits, n_steps, n_ancillas, n_layers).double().requires_grad_(False)
    for theta, row in zip(model.circuits.theta, rows, strict=True):
        theta.copy_(torch.from_numpy(row).mT)
    return model


def published(task: Task, folder: Path) -> Tensor:
    """The published kets at step 0, `(N, d)`.

    Raises:
        HQDMError: As `read`, or if they are not kets of norm 1 in the precision of the file.
    """
    dim, file = 2 ** task.sizes[0], folder / "data" / task.states
    kets = read(file, dim, "ket")
    first = torch.from_numpy(kets[0] if kets.ndim == 3 else kets)
    with about(str(file)):
        return check_kets(first.to(torch.promote_types(first.dtype, torch.complex64))).cdouble()


def generated(model: MeasuredCircuit, kets: Tensor, draws: torch.Generator) -> Tensor:
    """The kets at step 0 from kets at step T, `(N, d)`."""
    (*_, (_, kets)) = model.chain(kets, draws)
    return kets


def generated_with_same_numbers(model: MeasuredCircuit, kets: Tensor, numbers: Tensor) -> Tensor:
    """As `generated`, where a sample has the same random numbers in every measurement.

    Args:
        model: The model.
        kets: Kets at step T, `(N, d)`.
        numbers: Gumbel numbers of each sample and outcome, `(N, 2^m)`; the outcome of a
            measurement is that of the largest sum of a number and a logarithm of a probability.
    """
    for (kraus,) in reversed(model.kraus(range(1, model.n_steps + 1))):
        branches = torch.einsum("zij,bj->bzi", kraus, kets)
        weights = branches.abs().square().sum(-1)
        kets = normalised(branches[torch.arange(len(kets)), (weights.log() + numbers).argmax(1)])
    return kets


def gumbel(shape: Sequence[int], draws: torch.Generator) -> Tensor:
    """Gumbel numbers -log(-log u), u uniform, in float64."""
    return -torch.rand(*shape, generator=draws, dtype=torch.float64).log().neg().log()


def rows(name: str, folder: Path, n: int, seed: int) -> list[tuple[str, ...]]:
    """The rows of a task in the table.

    Args:
        name: A key of `TASKS`.
        folder: The checkout.
        n: Number of states of the data and of the model.
        seed: Random seed of both.

    Raises:
        HQDMError: As `read`.
    """
    task = TASKS[name]
    n_qubits, _, n_ancillas, _ = task.sizes
    model = model_of(task, folder)
    ensemble = build_ensemble(task.ensemble, n_qubits=n_qubits, **task.options)
    prior = haar_kets(n, n_qubits, generator(seed, PRIOR))
    draws = generator(seed, OUTCOMES)

    def cell(kets: Tensor) -> str:
        mean, half_width = mean_interval(task.score(kets).tolist())
        return f"{mean:.4f} ± {half_width:.1g}"

    data = cell(ensemble.sample(n, generator(seed, DATA)))
    cells = cell(published(task, folder)), cell(generated(model, prior, draws))
    found = [(name, task.label, data, *cells)]
    if task.same_numbers:
        numbers = gumbel((n, 2**n_ancillas), draws)
        same = cell(generated_with_same_numbers(model, prior, numbers))
        found.append((f"{name}, same numbers", task.label, data, ABSENT, same))
    return found


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path, help="a checkout of QuantGenMdl")
    parser.add_argument("--task", choices=TASKS, help="one task (all)")
    parser.add_argument("--n", type=int, default=10_000, help="number of states (10000)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (0)")
    parser.add_argument("--write", type=Path, help="Markdown file of the table")
    options = parser.parse_args()
    names = [options.task] if options.task else list(TASKS)
    try:
        whole("--n", options.n, LEAST)
        whole("--seed", options.seed)
        found = [row for name in names for row in rows(name, options.path, options.n, options.seed)]
    except HQDMError as error:
        parser.error(str(error))
    table = Table(
        "The published angles of QuDDPM",
        ("task", "score", "data", "published states", "angles"),
        found,
        notes=(
            f"Means with 95 % intervals: of {options.n:,} states of the data and from the angles, "
            f"random seed {options.seed}, and of the published states.",
            f"Layout of the files: github.com/Francis-Hsu/QuantGenMdl, commit {COMMIT}.",
        ),
    )
    table.publish(options.write)


if __name__ == "__main__":
    main()
