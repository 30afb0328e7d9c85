r"""Bloch spheres in parallel projection, as pictures of one-qubit states.

    c = (cos e cos a, cos e sin a, sin e),    depth = c . r,
    right = (-sin a, cos a, 0) . r,           up = (-sin e cos a, -sin e sin a, cos e) . r,

for a Bloch vector r seen from azimuth a and elevation e. Points of the front half, depth >= 0, are
filled, those of the back half are open and beneath the lines of the sphere.
"""

from collections.abc import Mapping, Sequence
from math import cos, pi, radians, sin
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hqdm.states.channels import Channel
from hqdm.states.observables import bloch
from hqdm.utils.pictures import spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AZIMUTH, ELEVATION = radians(35), radians(24)
SIZE = 1.75  # inches of a sphere
MARGIN = 1.25  # half of the width of a sphere's axes, in radii
SHOWN = 200  # states on a sphere, at most: more hide each other
COLUMNS = 7  # of a strip
EQUAL = 1e-4  # largest difference of vectors that are drawn as one
GRID = "0.72"  # colour of the lines
DATA, GENERATED = "0.35", "tab:red"  # colours of states


def projection(vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The places of vectors in the picture, and their depths.

    Args:
        vectors: Real `(..., 3)`.

    Returns:
        Right, up and depth towards the eye, each `(...)`.
    """
    a, e = AZIMUTH, ELEVATION
    rows = [
        *([-sin(a), cos(a), 0], [-sin(e) * cos(a), -sin(e) * sin(a), cos(e)]),
        [cos(e) * cos(a), cos(e) * sin(a), sin(e)],
    ]
    right, up, depth = (vectors @ vectors.new_tensor(rows).T).unbind(-1)
    return right, up, depth


def spheres(
    rows: Mapping[str, Sequence[Tensor]],
    heads: Sequence[str] = (),
    colors: Sequence[str] = (DATA, GENERATED),
) -> "Figure":
    """Rows of Bloch spheres with states of one qubit.

    Args:
        rows: The name of each row, and the states of its spheres, kets `(B, 2)` or density matrices
            `(B, 2, 2)`; of each at most `SHOWN` are drawn.
        heads: Texts above the columns.
        colors: Colour of each row.

    Raises:
        HQDMError: If the states are not of one qubit.
    """
    from matplotlib.figure import Figure  # slow to import

    n_columns = max(map(len, rows.values()))
    size = SIZE * n_columns + 0.3, SIZE * len(rows) + 0.5
    figure = Figure(figsize=size, layout="constrained")
    table = figure.subplots(len(rows), n_columns, squeeze=False)
    for axes in table.flat:
        axes.set_axis_off()
    for line, (name, ensembles), color in zip(table, rows.items(), colors, strict=False):
        for axes, states in zip(line, ensembles, strict=False):
            draw_sphere(axes, labels=axes is line[0])
            draw_states(axes, states, color)
        line[0].text(-MARGIN - 0.1, 0, name, rotation=90, ha="right", va="center")
    for axes, head in zip(table[0], heads, strict=False):
        axes.set_title(head, fontsize=10)
    figure.supxlabel("filled: front half of the sphere, open: back half", fontsize=8, color="0.3")
    return figure


def bloch_strip(
    channel: Channel, path: Sequence[Tensor], data: Tensor, draws: torch.Generator
) -> "Figure":
    """The states of a channel above those of a model, from step T to the data.

    Args:
        channel: The forward process.
        path: States of the model at the steps T, ..., 0, see `StateDenoiser.denoising`.
        data: States of the data, see `spheres`.
        draws: Generator of a random channel.

    Raises:
        HQDMError: As `spheres`.
    """
    steps = spread(len(path), COLUMNS).flip(0).tolist()
    forward = [channel.at(data[:SHOWN], t, draws) for t in steps]
    backward = [path[-1 - t] for t in steps]
    return spheres({"forward": forward, "backward": backward}, [f"$t$ = {t}" for t in steps])


def draw_sphere(axes: "Axes", labels: bool = True) -> None:
    """Draw the outline, the equator and two meridians of the sphere, dotted at the back.

    Args:
        axes: Axes of matplotlib.
        labels: Whether to name the axes x and y and the poles |0> and |1>.
    """
    turn = torch.linspace(0, 2 * pi, 181)
    zero = torch.zeros_like(turn)
    axes.plot(turn.cos(), turn.sin(), color="0.5", linewidth=0.8, zorder=2)
    for circle in (
        (turn.cos(), turn.sin(), zero),
        (turn.cos(), zero, turn.sin()),
        (zero, turn.cos(), turn.sin()),
    ):
        right, up, depth = projection(torch.stack(circle, -1))
        for side, style, order in ((depth >= 0, "-", 2.0), (depth <= 0, ":", 1.0)):
            half = [part.where(side, torch.nan) for part in (right, up)]
            axes.plot(*half, style, color=GRID, linewidth=0.6, zorder=order)
    axes.set(xlim=(-MARGIN, MARGIN), ylim=(-MARGIN, MARGIN), aspect="equal")
    if labels:
        _label_axes(axes)


def _label_axes(axes: "Axes") -> None:
    ends = {"$x$": (1.9, 0, 0), "$y$": (0, 1.4, 0)}
    poles = {r"$|0\rangle$": (0, 0, 1.28), r"$|1\rangle$": (0, 0, -1.28)}
    for name, end in {**ends, **poles}.items():
        vector = torch.tensor(end)
        right, up, _ = projection(vector)
        axes.text(float(right), float(up), name, fontsize=8, ha="center", va="center")
        if name in ends:  # from the surface, over the sphere, to the name
            line = projection(torch.stack([vector / vector.norm(), 0.92 * vector]))
            axes.plot(line[0], line[1], color="0.5", linewidth=0.7, zorder=2)


def draw_states(axes: "Axes", states: Tensor, color: str) -> None:
    """Draw states on a sphere; a single one, or copies of it, with a line from the centre.

    Args:
        axes: Axes with a sphere.
        states: Kets `(B, 2)` or density matrices `(B, 2, 2)`.
        color: Their colour.

    Raises:
        HQDMError: If the states are not of one qubit.
    """
    vectors = bloch(states[:SHOWN]).cpu().float()
    right, up, depth = projection(vectors)
    front = depth >= -EQUAL  # also the maximally mixed state, for which rounding decides
    if float((vectors - vectors[0]).abs().max()) < EQUAL:
        front, right, up = front[:1], right[:1], up[:1]
        axes.plot([0, float(right[0])], [0, float(up[0])], color=color, linewidth=1.2, zorder=3)
    size = 9 if len(front) > 1 else 24
    axes.scatter(right[~front], up[~front], size, "none", edgecolors=color, lw=0.5, zorder=1.5)
    axes.scatter(right[front], up[front], size, color, alpha=0.7, lw=0, zorder=4)
