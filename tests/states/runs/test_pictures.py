"""Pictures of states: heights, colours, shared bins, and which pictures a model has."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from random_states import random_density, random_kets

from hqdm.states.channels import build_channel
from hqdm.states.density import as_density, purity
from hqdm.states.distances import average, fidelity
from hqdm.states.models import MeasuredCircuit, StateDenoiser, TracedCircuit
from hqdm.states.models.objectives import Final, Layerwise
from hqdm.states.observables import magnetisation
from hqdm.states.runs.pictures import LEAST_RANGE, PHASES, density_bars, histograms, state_pictures


def test_bars_have_the_moduli_as_heights_and_the_phases_as_colours():
    states = {"data": random_density(1, 2, 1)[0], "generated": random_density(1, 2, 2)[0]}
    figure = density_bars(states)
    panels = figure.axes[:2]
    assert [axes.get_title() for axes in panels] == list(states)
    scale = []
    for axes, rho in zip(panels, states.values(), strict=True):
        bars = np.reshape(axes.patches, (4, 4))
        for (i, j), bar in np.ndenumerate(bars):
            assert bar.get_x() + bar.get_width() / 2 == pytest.approx(j)
            assert bar.get_y() == 3 - i  # row 0 at the top
            scale.append(bar.get_height() / float(rho[i, j].abs()))
            part = (math.pi + float(rho[i, j].angle())) / (2 * math.pi)
            assert bar.get_facecolor() == pytest.approx(colormaps[PHASES](part))
    assert scale == pytest.approx([scale[0]] * 32)  # one scale for both
    assert max(bar.get_height() for axes in panels for bar in axes.patches) < 1
    kets = [label.get_text() for label in panels[0].get_yticklabels()]
    bras = [label.get_text() for label in panels[0].get_xticklabels()]
    assert (kets[1], bras[1]) == (r"$|01\rangle$", r"$\langle01|$")


def test_histograms_count_both_in_the_same_bins():
    data, generated = random_kets(50, 2, 1), random_density(40, 2, 2)
    observables = [
        magnetisation,
        partial(magnetisation, axis="x"),
        partial(magnetisation, absolute=True),
        lambda states: purity(as_density(states)),
    ]
    axes = histograms(data, generated).axes
    assert len(axes) == len(observables)
    for panel, observable in zip(axes, observables, strict=True):
        bars, outline = panel.containers[0].patches, panel.patches[-1].get_xy()
        edges = np.array([bar.get_x() for bar in bars] + [bars[-1].get_x() + bars[-1].get_width()])
        real, made = observable(data).numpy(), observable(generated).numpy()
        assert min(real.min(), made.min()) > edges[0]
        assert max(real.max(), made.max()) < edges[-1]
        heights = [bar.get_height() for bar in bars]
        assert heights == pytest.approx(np.histogram(real, edges)[0] / 50)
        steps = np.repeat(np.histogram(made, edges)[0] / 40, 2)
        assert outline[1:-1, 1][: len(steps)] == pytest.approx(steps)


def test_kets_have_no_histogram_of_purities_nor_one_qubit_of_moduli():
    names = [axes.get_xlabel() for axes in histograms(*[random_kets(5, 1)] * 2).axes]
    assert len(names) == 2
    assert all("M_" in name and "|" not in name for name in names)


def test_equal_values_are_one_bar_in_the_middle():
    ket = random_kets(1, 2).repeat(6, 1)
    panel = histograms(ket, ket).axes[0]
    bars = panel.containers[0].patches
    heights = [bar.get_height() for bar in bars]
    assert sorted(heights)[-2:] == pytest.approx([0, 1])
    highest = bars[int(np.argmax(heights))]
    middle = highest.get_x() + highest.get_width() / 2
    assert middle == pytest.approx(float(magnetisation(ket)[0]))
    assert len(bars) * highest.get_width() == pytest.approx(LEAST_RANGE)


def model_of(n_qubits, traced):
    if traced:
        channel = build_channel("depolarising", n_steps=3)
        return StateDenoiser(TracedCircuit(n_qubits, 3, n_layers=1), channel, Final())
    channel = build_channel("scrambling", n_steps=3, h=[[1.0, 1.0, 3]])
    return StateDenoiser(MeasuredCircuit(n_qubits, 3, n_layers=1), channel, Layerwise())


@pytest.mark.parametrize(
    ("n_qubits", "traced", "names"),
    [
        (1, False, {"bloch_strip.png", "observables.png"}),
        (1, True, {"bloch_strip.png", "observables.png"}),
        (2, False, {"density.png", "observables.png"}),
        (2, True, {"density.png", "observables.png"}),
        (5, False, {"observables.png"}),
    ],
)
def test_a_model_has_the_pictures_of_its_number_of_qubits(n_qubits, traced, names):
    model = model_of(n_qubits, traced)
    draws = torch.Generator().manual_seed(0)
    data = random_density(4, n_qubits) if traced else random_kets(4, n_qubits)
    path = model.denoising(4, draws)
    figures = state_pictures(model, path, data, draws)
    assert set(figures) == names
    if "density.png" in figures:
        found = float(fidelity(average(data), average(path[-1])))
        assert figures["density.png"].axes[1].get_title() == f"generated, $F$ = {found:.4f}"
