import pytest
import torch

from hqdm.diffusion.schedule import CosineSchedule, LinearSchedule
from hqdm.samplers import DDIM, GRIDS
from hqdm.samplers.grids import RHO, T_CUT, build_grid
from hqdm.utils.errors import HQDMError

SCHEDULES = [CosineSchedule(), LinearSchedule()]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=["cosine", "linear"])
@pytest.mark.parametrize("grid", [*GRIDS, "power:0.1", "power:10"])
@pytest.mark.parametrize("steps", [1, 2, 3, 50])
@pytest.mark.parametrize(("t_start", "t_end"), [(1.0, 0.0), (0.4, 0.0), (0.9, 0.2), (0.005, 0.0)])
def test_grids_fall_from_start_to_end(grid, schedule, steps, t_start, t_end):
    times = build_grid(grid, schedule, t_start, t_end, steps)
    assert times.shape == (steps + 1,)
    assert times.dtype == torch.float64
    assert (times[0], times[-1]) == (t_start, t_end)
    assert (times.diff() < 0).all()


@pytest.mark.parametrize("schedule", SCHEDULES, ids=["cosine", "linear"])
def test_what_is_even(schedule):
    def inner(grid):
        times = build_grid(grid, schedule, 1.0, 0.0, 9)
        assert times[-2] == pytest.approx(T_CUT)
        return schedule.lam(times[:-1])

    def is_even(numbers):
        torch.testing.assert_close(
            numbers.diff().diff(), torch.zeros(7).double(), atol=1e-9, rtol=0
        )

    is_even(inner("lambda"))
    is_even((-inner("karras") / RHO).exp())
    is_even(build_grid("time", schedule, 1.0, 0.0, 8))


@pytest.mark.parametrize("schedule", SCHEDULES, ids=["cosine", "linear"])
def test_the_karras_grid_is_the_published_one(schedule):
    """Karras et al. 2022, eq. 5 with rho = 7, from t = 1 to 0.01, then 0."""
    n, rho = 9, 7
    times = build_grid("karras", schedule, 1.0, 0.0, n)
    assert times[-2:].tolist() == [pytest.approx(0.01, rel=1e-9), 0.0]
    alpha, sigma = schedule(torch.tensor([1.0, 0.01], dtype=torch.float64))
    most, least = ((sigma / alpha) ** (1 / rho)).tolist()
    share = torch.arange(n).double() / (n - 1)
    expected = (most + share * (least - most)) ** rho
    alpha, sigma = schedule(times[:-1])
    torch.testing.assert_close(sigma / alpha, expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize(("grid", "power"), [("power", 0.7), ("power:0.5", 0.5), ("power:2", 2.0)])
def test_the_power_grid(grid, power):
    """t_i = ((n - i) / n)^p from 1 to 0, and even in t^(1 / p) between other ends."""
    schedule, n = CosineSchedule(), 8
    expected = (torch.arange(n, -1, -1).double() / n) ** power
    times = build_grid(grid, schedule, 1.0, 0.0, n)
    torch.testing.assert_close(times, expected, rtol=1e-14, atol=0)
    inner = build_grid(grid, schedule, 0.9, 0.2, n) ** (1 / power)
    torch.testing.assert_close(inner.diff().diff(), torch.zeros(7).double(), atol=1e-14, rtol=0)


@pytest.mark.parametrize("grid", ["lambda", "karras"])
def test_the_last_step_begins_at_a_hundredth(grid):
    """And a grid that starts there or later is uniform in t."""
    schedule = CosineSchedule()
    assert build_grid(grid, schedule, 0.5, 0.0, 4)[-2].item() == pytest.approx(0.01, rel=1e-9)
    times = build_grid(grid, schedule, 0.01, 0.0, 4)
    expected = torch.linspace(0.01, 0, 5, dtype=torch.float64)
    torch.testing.assert_close(times, expected, rtol=0, atol=1e-12)


def test_times_of_your_own():
    sampler = DDIM(grid=[0.9, 0.5, 0.1])
    assert sampler.steps == 2
    assert sampler.grid(CosineSchedule(), 1.0, 0.0).tolist() == [0.9, 0.5, 0.1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": "lamda"}, "unknown grid 'lamda'.*did you mean 'lambda'"),
        ({"grid": "time:0.7"}, "unknown grid 'time:0.7'"),
        *(
            ({"grid": f"power:{bad}"}, rf"number in \[0.1, 10\], .* got 'power:{bad}'")
            for bad in ("", "x", "0", "-1", "nan", "11")
        ),
        ({"grid": [0.5]}, "two times or more"),
        ({"grid": [0.5, 0.5, 0.0]}, "each smaller than the previous one"),
        ({"grid": [1.5, 0.0]}, r"times in \[0, 1\], got 1.5 to 0.0"),
        ({"grid": [1.0, 0.5, 0.0], "steps": 3}, "the grid has 2 steps, got steps=3"),
        ({"steps": 0}, "steps needs a whole number from 1, got 0"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(HQDMError, match=message):
        DDIM(**options)
