"""Bloch spheres: where states are drawn, and which of them are in front."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgba
from random_states import random_density, random_kets

from hqdm.states.channels import build_channel
from hqdm.states.density import density, maximally_mixed
from hqdm.states.observables import bloch
from hqdm.states.runs import bloch as module
from hqdm.states.runs.bloch import AZIMUTH, ELEVATION, bloch_strip, projection, spheres
from hqdm.utils.errors import HQDMError

EYE = torch.tensor(
    [
        math.cos(ELEVATION) * math.cos(AZIMUTH),
        math.cos(ELEVATION) * math.sin(AZIMUTH),
        math.sin(ELEVATION),
    ],
    dtype=torch.float64,
)
ROUNDING = 1e-6  # of a few operations in float32


def drawn(axes):
    """The states of a sphere: those of the back half, and those of the front half."""
    back, front = (np.asarray(points.get_offsets()) for points in axes.collections)
    return back, front


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_the_projection_is_a_rotation(seed):
    vectors = torch.randn(7, 3, generator=torch.Generator().manual_seed(seed)).double()
    seen = torch.stack(projection(vectors), -1)
    torch.testing.assert_close(seen @ seen.T, vectors @ vectors.T, rtol=0, atol=1e-13)
    axes = torch.stack(projection(torch.eye(3).double()), -1)
    assert float(torch.linalg.det(axes)) == pytest.approx(1, abs=1e-13)  # no mirror image


def test_the_eye_sees_its_direction_in_the_middle_and_z_upwards():
    right, up, depth = projection(EYE)
    assert (float(right), float(up), float(depth)) == pytest.approx((0, 0, 1), abs=1e-15)
    right, up, _ = projection(torch.tensor([0.0, 0, 1]))
    assert (float(right), float(up)) == pytest.approx((0, math.cos(ELEVATION)))


@pytest.mark.parametrize("mixed", [False, True])
def test_states_in_front_are_filled_and_the_others_open(mixed):
    states = random_density(40, 1, 1) if mixed else random_kets(40, 1, 1)
    axes = spheres({"data": [states]}, colors=["tab:blue"]).axes[0]
    back, front = drawn(axes)
    vectors = bloch(states)
    in_front = vectors @ EYE >= 0
    assert 0 < len(front) < len(states)
    for points, own in ((front, vectors[in_front]), (back, vectors[~in_front])):
        expected = torch.stack(projection(own)[:2], -1).numpy()
        assert np.asarray(points) == pytest.approx(expected, abs=ROUNDING)
    open_, filled = axes.collections
    assert open_.get_facecolor().size == 0
    assert tuple(filled.get_facecolor()[0][:3]) == to_rgba("tab:blue")[:3]
    assert open_.get_zorder() < filled.get_zorder()


def test_copies_of_one_state_are_drawn_once_with_a_line_from_the_centre():
    rho = random_density(1, 1, 2)
    axes = spheres({"": [rho.repeat(5, 1, 1), random_density(5, 1, 3)]}).axes
    points = np.concatenate(drawn(axes[0]))
    (place,) = torch.stack(projection(bloch(rho))[:2], -1).numpy()
    assert points == pytest.approx(place[None], abs=ROUNDING)
    lines = [line.get_xydata() for line in axes[0].lines]
    assert sum(line == pytest.approx(np.stack([0 * place, place]), abs=ROUNDING) for line in lines)
    assert sum(map(len, drawn(axes[1]))) == 5


def test_at_most_a_number_of_states_is_drawn():
    axes = spheres({"": [random_kets(module.SHOWN + 7, 1)]}).axes[0]
    assert sum(map(len, drawn(axes))) == module.SHOWN


def test_the_back_of_a_circle_is_dotted():
    axes = spheres({"": [random_kets(3, 1)]}).axes[0]
    lines = [
        line for line in axes.lines if line.get_linestyle() in "-:" and len(line.get_xdata()) > 9
    ]
    outline, *halves = lines
    assert np.hypot(*outline.get_data()) == pytest.approx(1)
    assert [line.get_linestyle() for line in halves] == ["-", ":"] * 3
    front, back = (line.get_ydata() for line in halves[:2])  # of the equator, seen from above
    assert np.nanmax(front) <= ROUNDING
    assert np.nanmin(back) >= -ROUNDING
    for line in halves:
        inside = np.hypot(*line.get_data())
        assert np.nanmax(inside) <= 1 + ROUNDING
        assert np.isfinite(inside).sum() in range(88, 94)  # a half of 181 points, and its ends


def test_a_strip_has_the_channel_above_the_model_at_equal_steps():
    channel = build_channel("depolarising", n_steps=30)
    data = random_density(4, 1, 5)
    path = [channel.at(data, t) for t in range(30, -1, -1)]
    figure = bloch_strip(channel, path, data, torch.Generator())
    heads = [axes.get_title() for axes in figure.axes[: module.COLUMNS]]
    assert heads == [f"$t$ = {t}" for t in (30, 25, 20, 15, 10, 5, 0)]
    above, below = figure.axes[: module.COLUMNS], figure.axes[module.COLUMNS :]
    for one, other, t in zip(above, below, (30, 25, 20, 15, 10, 5, 0), strict=True):
        seen = np.concatenate(drawn(one))
        assert seen == pytest.approx(np.concatenate(drawn(other)), abs=ROUNDING)
        farthest = channel.signal[t] * float(bloch(data).norm(dim=-1).max())
        assert np.hypot(*seen.T).max() <= farthest + ROUNDING
    assert [axes.texts[-1].get_text() for axes in (above[0], below[0])] == ["forward", "backward"]


def test_a_strip_of_few_steps_has_a_sphere_for_each():
    channel = build_channel("scrambling", n_steps=2, h=[[1.0, 1.0, 2]])
    kets = random_kets(3, 1)
    figure = bloch_strip(channel, [kets] * 3, kets, torch.Generator().manual_seed(0))
    assert [axes.get_title() for axes in figure.axes[:3]] == ["$t$ = 2", "$t$ = 1", "$t$ = 0"]


def test_spheres_are_of_one_qubit():
    with pytest.raises(HQDMError, match="one qubit"):
        spheres({"": [density(random_kets(2, 2))]})


def test_the_centre_is_in_front_whatever_the_rounding():
    centre = maximally_mixed(1).repeat(2, 1, 1)
    centre[0, 0, 0] -= 1e-16
    centre[1, 0, 0] += 1e-16
    back, front = drawn(spheres({"": [centre]}).axes[0])
    assert (len(back), len(front)) == (0, 1)
