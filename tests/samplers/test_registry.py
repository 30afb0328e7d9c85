"""Samplers by name: what each name stands for, the options it takes, the ones it refuses."""

import pickle
import subprocess
import sys
from copy import deepcopy

import pytest

from hqdm.samplers import DDIM, AdaptiveDPMSolver, DPMSolver, DPMSolverExact, DPMSolverPP, UniPC
from hqdm.samplers.registry import (
    SAMPLERS,
    SamplerEntry,
    build_sampler,
    load_arguments,
    register_sampler,
    sampler_entry,
)
from hqdm.utils.errors import HQDMError


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("dpm", DPMSolver, {"order": 3}),
        ("dpm1", DPMSolver, {"order": 1}),
        ("dpm2", DPMSolver, {"order": 2}),
        ("dpm3", DPMSolver, {"order": 3}),
        ("dpm-exact2", DPMSolverExact, {"order": 2}),
        ("dpm++2m", DPMSolverPP, {"sde": False}),
        ("dpm++2m-sde", DPMSolverPP, {"sde": True}),
        ("unipc", UniPC, {}),
        ("unipc2", UniPC, {"order": 2}),
        ("dpm-adaptive", AdaptiveDPMSolver, {"order": 3}),
        ("ddim", DDIM, {"eta": 0}),
    ],
)
def test_names_stand_for_samplers(name, kind, options):
    sampler = build_sampler(name)
    assert type(sampler) is kind
    assert {option: getattr(sampler, option) for option in options} == options


@pytest.mark.parametrize("name", [name for name in SAMPLERS if SAMPLERS[name].network])
def test_every_sampler_keeps_its_name_in_copies(name):
    sampler = build_sampler(name)
    for other in (sampler, deepcopy(sampler), pickle.loads(pickle.dumps(sampler))):
        assert other.settings["sampler"] == name
        assert other.settings == sampler.settings


def test_options_reach_the_sampler():
    sampler = build_sampler("unipc2", 7, "karras")
    assert sampler.settings == {"sampler": "unipc2", "steps": 7, "grid": "karras"}
    sampler = build_sampler("dpm-adaptive", tolerance=0.3)
    absolute = pytest.approx(0.3 * 0.156)
    expected = {"sampler": "dpm-adaptive", "tolerance": 0.3, "absolute": absolute, "order": 3}
    assert sampler.settings == expected
    assert build_sampler("dpm-adaptive", tolerance=0.3, absolute=0.01).settings["absolute"] == 0.01
    assert build_sampler("ddim", grid=[1.0, 0.4, 0.0]).steps == 2


def test_what_a_sampler_does_not_take_is_refused():
    with pytest.raises(HQDMError, match="dpm-adaptive takes no steps: it takes tolerance"):
        build_sampler("dpm-adaptive", steps=5)
    with pytest.raises(HQDMError, match="dpm-adaptive takes no grid"):
        build_sampler("dpm-adaptive", grid="time")
    with pytest.raises(HQDMError, match="ddim takes no tolerance: it takes steps and grid"):
        build_sampler("ddim", tolerance=0.1)
    with pytest.raises(HQDMError, match=r"unknown sampler 'dpm4': expected one of .*did you mean"):
        build_sampler("dpm4")


@pytest.fixture
def names(monkeypatch):
    """The registry, whose entries are those of before afterwards."""
    monkeypatch.setattr(SAMPLERS, "_entries", dict(SAMPLERS))


def test_a_name_of_another_sampler_is_refused(names):
    """Entries are compared by the module and the name of what makes the sampler."""
    again = type("DDIM", (DDIM,), {"__module__": DDIM.__module__})
    register_sampler("mine")(again)
    register_sampler("mine")(type("DDIM", (DDIM,), {"__module__": DDIM.__module__}))  # run again
    other = type("DDIM", (DDIM,), {"__module__": "somewhere"})
    for name in ("mine", "ddim"):
        with pytest.raises(HQDMError, match=f"the sampler '{name}' is already defined by hqdm.sam"):
            register_sampler(name)(other)


def test_only_samplers_with_a_grid_finish_a_hybrid():
    """The last steps are given as a grid of times, which an adaptive sampler does not take."""
    assert sampler_entry("carleman+unipc") is SAMPLERS["carleman"]
    with pytest.raises(HQDMError, match="unknown sampler after carleman 'dpm-adaptive': ") as error:
        sampler_entry("carleman+dpm-adaptive")
    assert "dpm-adaptive" not in str(error.value).partition("expected one of")[2]


def test_what_is_read_beside_a_model(names, tmp_path):
    """Without guidance only: 1 is none, as a whole number or not, and 0 is guidance."""
    read = []

    def load(source, denoiser):
        read.append((source, denoiser))
        return {"steps": 7}

    SAMPLERS.register("loading", SamplerEntry(DDIM, load=load))
    for none in (1, 1.0):
        assert load_arguments("loading", tmp_path, "model", none) == {"steps": 7}
    assert load_arguments("ddim", tmp_path, "model", 2.0) == {}
    assert read == [(tmp_path, "model")] * 2
    for scale in (0, 0.5, 2.0):
        with pytest.raises(HQDMError, match="loading was fitted without guidance"):
            load_arguments("loading", tmp_path, "model", scale)
    assert len(read) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "from hqdm.samplers import SAMPLERS; print('carleman' in SAMPLERS)",
        pytest.param(
            "import hqdm.samplers.registry as r; print(r.sampler_entry('carleman+ddim').hybrid)",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "import hqdm.evaluation.comparison as c; print(bool(c.parse_entries('gaussian', '5')))",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_samplers_of_the_rooms_above_are_found_in_a_fresh_process(code):
    """Nothing else has been imported that registers them by the way."""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "True\n"
