r"""Pictures of generated quantum states beside those of the data.

bloch_strip.png  one qubit: the states at steps T, ..., 0 of the channel, and of the model
density.png      2 to 4 qubits: |rho_ij| and arg rho_ij of both average states
observables.png  histograms of the magnetisation, and of the purity of density matrices
"""

from collections.abc import Mapping, Sequence
from math import pi
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from hqdm.states.density import as_density, is_kets, n_qubits_of
from hqdm.states.distances import average, fidelity
from hqdm.states.models.denoiser import StateDenoiser
from hqdm.states.runs.bloch import DATA, GENERATED, bloch_strip
from hqdm.states.scores import observables_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

MAX_QUBITS = 4  # of the bars of a density matrix, 256
PHASES = "twilight"  # cyclic: positive numbers are dark, negative ones light, i and -i in colour
BINS = 31  # odd: values that are all equal lie in the middle of a bin
STRIP_FILE, DENSITY_FILE, OBSERVABLES_FILE = "bloch_strip.png", "density.png", "observables.png"
LABELS = {
    "magnetisation z": r"magnetisation $\langle M_z\rangle$",
    "magnetisation x": r"magnetisation $\langle M_x\rangle$",
    "magnetisation |z|": r"$\langle |M_z| \rangle$",
    "purity": r"purity tr $\rho^2$",
}
"""Labels of the names in `hqdm.states.scores.observables_of`, in the order of the histograms."""

LEAST_RANGE = 0.1  # of a histogram, for states that are all equal


def picture_files(n_qubits: int) -> tuple[str, ...]:
    """The names of the files of `state_pictures` of models of n qubits."""
    if n_qubits == 1:
        return (OBSERVABLES_FILE, STRIP_FILE)
    return (OBSERVABLES_FILE, DENSITY_FILE) if n_qubits <= MAX_QUBITS else (OBSERVABLES_FILE,)


def state_pictures(
    model: StateDenoiser, path: Sequence[Tensor], data: Tensor, draws: torch.Generator
) -> "dict[str, Figure]":
    """Pictures of one generation.

    Args:
        model: The model, whose channel makes the forward row of the strip.
        path: Its states at the steps T, ..., 0, see `StateDenoiser.denoising`.
        data: States of the data, kets `(B, d)` or density matrices `(B, d, d)`.
        draws: Generator of a random channel.

    Returns:
        Figures by the names of their files, see the module.
    """
    figures = {OBSERVABLES_FILE: histograms(data, path[-1])}
    if model.n_qubits == 1:
        figures[STRIP_FILE] = bloch_strip(model.channel, path, data, draws)
    elif model.n_qubits <= MAX_QUBITS:
        target, generated = average(data), average(path[-1])
        name = f"generated, $F$ = {float(fidelity(target, generated)):.4f}"
        figures[DENSITY_FILE] = density_bars({"data": target, name: generated})
    return figures


def density_bars(states: "Mapping[str, Tensor]") -> "Figure":
    """Density matrices side by side: a bar of height |rho_ij| and colour arg rho_ij in each cell.

    Args:
        states: Density matrices `(d, d)` of equal size by their names.
    """
    from matplotlib.figure import Figure  # slow to import

    largest = max(float(rho.abs().max()) for rho in states.values())
    side = max(3.6, 0.3 * max(map(len, states.values())))  # inches
    figure = Figure(figsize=((side + 0.5) * len(states) + 1, side + 0.7), layout="constrained")
    table = figure.subplots(1, len(states), squeeze=False)[0]
    colors = _phase_colors()
    for axes, (name, rho) in zip(table, states.items(), strict=True):
        _draw_bars(axes, rho.cpu(), largest, colors)
        axes.set_title(name, fontsize=10)
    bar = figure.colorbar(colors, ax=table, ticks=[-pi, -pi / 2, 0, pi / 2, pi], shrink=0.7)
    bar.ax.set_yticklabels([r"$-\pi$", r"$-\pi/2$", "0", r"$\pi/2$", r"$\pi$"])
    bar.set_label(r"phase of $\rho_{ij}$")
    figure.supxlabel(
        rf"height: $|\rho_{{ij}}|$, the tallest bar is {largest:.2g}", fontsize=8, color="0.3"
    )
    return figure


def _phase_colors() -> "ScalarMappable":
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(-pi, pi), PHASES)


def _draw_bars(axes: "Axes", rho: Tensor, largest: float, colors: "ScalarMappable") -> None:
    """Draw one matrix, row 0 at the top."""
    dim = len(rho)
    row, column = torch.meshgrid(torch.arange(dim), torch.arange(dim), indexing="ij")
    axes.bar(
        column.flatten(),
        0.9 * (rho.abs() / largest).flatten(),
        width=0.6,
        bottom=dim - 1 - row.flatten(),
        color=colors.to_rgba(rho.angle().flatten().numpy()),
        edgecolor="0.3",
        linewidth=0.4,
    )
    axes.set(xlim=(-0.5, dim - 0.5), ylim=(0, dim), aspect="equal")
    basis = [f"{i:0{n_qubits_of(dim)}b}" for i in range(dim)]
    size = 9 if dim <= 8 else 72 / dim
    bras, kets = (
        [form.format(bits) for bits in basis] for form in (r"$\langle{}|$", r"$|{}\rangle$")
    )
    axes.set_xticks(range(dim), bras, fontsize=size, rotation=0 if dim <= 8 else 90)
    axes.set_yticks([dim - 0.5 - i for i in range(dim)], kets, fontsize=size)
    axes.hlines(range(1, dim), -0.5, dim - 0.5, color="0.85", linewidth=0.5, zorder=0)
    axes.vlines([i + 0.5 for i in range(dim - 1)], 0, dim, color="0.85", linewidth=0.5, zorder=0)
    axes.tick_params(length=0)


def histograms(data: Tensor, generated: Tensor) -> "Figure":
    """Histograms of observables of generated states beside those of the data, in the same bins.

    The magnetisations are along z and x and, of more qubits than one, that of |M|; the purity is
    shown if either are density matrices.

    Args:
        data: Kets `(B, d)` or density matrices `(B, d, d)`.
        generated: Kets or density matrices of the same d.

    Raises:
        HQDMError: As `is_kets`.
    """
    from matplotlib.figure import Figure

    if not (is_kets(data) and is_kets(generated)):
        data, generated = as_density(data), as_density(generated)
    found = observables_of(data)
    shown = {label: found[name] for name, label in LABELS.items() if name in found}
    figure = Figure(figsize=(3 * len(shown), 2.8), layout="constrained")
    table = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, (name, observable) in zip(table, shown.items(), strict=True):
        _draw_histograms(axes, observable(data).cpu(), observable(generated).cpu())
        axes.set_xlabel(name)
    table[0].set_ylabel("share of states")
    table[0].legend(fontsize=8)
    return figure


def _draw_histograms(axes: "Axes", real: Tensor, generated: Tensor) -> None:
    ends = torch.stack([*real.aminmax(), *generated.aminmax()])
    middle = float(ends.max() + ends.min()) / 2
    half = max(0.55 * float(ends.max() - ends.min()), LEAST_RANGE / 2)
    bins = np.linspace(middle - half, middle + half, BINS + 1).tolist()
    filled: dict[str, Any] = {"label": "data", "color": DATA, "alpha": 0.45}
    outline: dict[str, Any] = {"label": "generated", "color": GENERATED, "histtype": "step"}
    for values, options in ((real, filled), (generated, outline)):
        share = np.full(len(values), 1 / len(values))
        axes.hist(values.numpy(), bins, weights=share, linewidth=1.5, **options)
