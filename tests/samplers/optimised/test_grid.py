"""The file of a fitted grid."""

import json

import pytest

from hqdm.diffusion.schedule import CosineSchedule, LinearSchedule, schedule_config
from hqdm.samplers.optimised import OptimisedGrid, read_grid
from hqdm.utils.errors import HQDMError

SCHEDULE = CosineSchedule()
GRID = OptimisedGrid(
    sampler="unipc2",
    steps=3,
    schedule=dict(schedule_config(SCHEDULE)),
    times=[1.0, 0.6, 1 / 3, 0.0],
    before=0.2,
    after=0.1,
    n=4,
    seed=0,
    trials=1,
    method="gits",
)


def test_file_brings_the_times_back(tmp_path):
    GRID.write(tmp_path / "grid.json")
    assert json.loads((tmp_path / "grid.json").read_text())["method"] == "gits"
    assert read_grid(tmp_path / "grid.json", "unipc2", SCHEDULE) == GRID.times
    with pytest.warns(
        UserWarning, match="was fitted for unipc2 and may be less accurate with ddim"
    ):
        read_grid(tmp_path / "grid.json", "ddim", SCHEDULE)
    with pytest.raises(HQDMError, match="was fitted for the schedule .*cosine.*linear"):
        read_grid(tmp_path / "grid.json", "unipc2", LinearSchedule())
    with pytest.raises(HQDMError, match="there is no grid"):
        read_grid(tmp_path / "other.json", "unipc2", SCHEDULE)
    for damaged in ("{", "[1]", "{}"):
        (tmp_path / "grid.json").write_text(damaged)
        with pytest.raises(HQDMError, match="is not a grid of `hqdm optimise-grid`"):
            read_grid(tmp_path / "grid.json", "unipc2", SCHEDULE)
