"""The study of wave functions as tables, as Markdown and as a picture."""

from pathlib import Path
from typing import Any

import numpy as np

from hqdm.carleman.waves.grid import Grid
from hqdm.surrogate.report_files import ReportFiles
from hqdm.surrogate.waves.study import DERIVATIVE
from hqdm.utils.pictures import save_figure
from hqdm.utils.tables import Page, Sheet, counted, figure

SPAN = 4  # e-foldings of the contours below the largest probability


def grids_sheet(report: dict[str, Any]) -> Sheet:
    """The distances on all grids."""
    columns = {
        "total_variation": "total variation",
        "kullback_leibler": "Kullback-Leibler",
        "wasserstein": "Wasserstein-1",
        "infidelity": "infidelity",
    }
    rows = [
        (
            *(row["derivative"], str(row["qubits"]), f"{2 ** (row['qubits'] * report['dim']):,}"),
            *(figure(row[key]) for key in columns),
        )
        for row in sorted(report["grids"], key=lambda row: (row["derivative"], row["qubits"]))
    ]
    first, last = report["lambda"]
    title = (
        f"psi² and the density of the flow of {counted(report['dim'], 'latent')}, lambda "
        f"{first:.2f} to {last:.2f}, exact exponentials"
    )
    return Sheet(title, ("derivative", "qubits", "points", *columns.values()), rows)


def products_sheet(report: dict[str, Any]) -> Sheet:
    """The errors and gates of products of rotations."""
    columns = {
        "steps": "steps",
        "splitting": "|dpsi|",
        "total_variation": "total variation",
        "qubits": "qubits",
        "rotations": "rotations",
        "largest_weight": "their qubits",
        "controlled_nots": "CNOT",
        "shifts": "shifts",
    }
    rows = [tuple(figure(row[key]) for key in columns) for row in report["products"]]
    qubits = max(report["options"]["qubits"])
    title = f"products of rotations, {DERIVATIVE}, {qubits} qubits per coordinate"
    return Sheet(title, tuple(columns.values()), rows, n_text=0)


def page(report: dict[str, Any]) -> Page:
    """The report as tables and notes."""
    notes = [
        "|dpsi| is the distance of the product to the exact exponentials, total variation that to "
        "the density of the flow",
        "the density of the flow sums to "
        f"{report['grids'][-1]['inside']:.6f} over the cells of the finest grid",
    ]
    return Page([grids_sheet(report), products_sheet(report)], {"": notes})


def save_picture(report: dict[str, Any], path: Path) -> None:
    """Draw psi² beside samples of the classical flow and the data."""
    from matplotlib.figure import Figure  # slow to import

    options = report["options"]
    grid = Grid(report["dim"], max(options["qubits"]), options["extent"])
    draw = _draw_line if grid.dim == 1 else _draw_plane
    picture = Figure(figsize=(11, 3.8), layout="constrained")
    draw(report, grid, picture.subplots(1, 3))
    save_figure(picture, path)


def _draw_line(report: dict[str, Any], grid: Grid, axes: Any) -> None:
    """One latent: psi² as a line in all panels, with histograms."""
    density = np.array(report["probabilities"]) / grid.spacing
    named = {"psi²": None, "samples of the flow": "samples", "data": "data"}
    for panel, (title, key) in zip(axes, named.items(), strict=True):
        if key is not None:
            panel.hist(np.array(report[key])[:, 0], 50, density=True, color="0.8")
        panel.plot(grid.axis(), density, color="C0")
        panel.set(title=title, xlabel="z", xlim=(-grid.extent, grid.extent))


def _draw_plane(report: dict[str, Any], grid: Grid, axes: Any) -> None:
    """Two latents: psi² as an image, its logarithm with samples of the flow, and with the data."""
    side = (-grid.extent, grid.extent)
    density = np.array(report["probabilities"]).reshape(grid.shape).T
    axes[0].imshow(density, origin="lower", extent=side * 2, cmap="viridis")
    axes[0].set_title("psi²")
    levels = density.max() * np.exp(-np.arange(SPAN, -0.5, -0.5))
    for panel, key, title in (
        (axes[1], "samples", "psi² (contours) and samples of the flow"),
        (axes[2], "data", "psi² (contours) and data"),
    ):
        panel.plot(*np.array(report[key]).T, ".", color="0.6", markersize=2)
        panel.contour(grid.axis(), grid.axis(), density, levels, linewidths=0.8)
        panel.set(title=title, aspect="equal")
    for panel in axes:
        panel.set(xlim=side, ylim=side, xlabel="z₁", ylabel="z₂")


WAVES = ReportFiles("waves", page, save_picture)
