"""Comparing samplers: the right budgets, the same noise, scores of the stored images, resuming."""

import json

import pytest
import torch
from marks import thinned
from safetensors.torch import load_file

from hqdm.diffusion.loading import load_denoiser
from hqdm.evaluation.comparison import COMPARISON_FILES, Entry, above_least, parse_entries
from hqdm.evaluation.protocol import ScoringProtocol
from hqdm.evaluation.report import evaluate
from hqdm.generation.sampling import sample_images
from hqdm.metrics.uncertainty import HALF_WIDTH, difference, fid_infinity
from hqdm.samplers.registry import build_sampler
from hqdm.utils.pixels import to_uint8
from hqdm.utils.seeds import generator

pytestmark = pytest.mark.filterwarnings("ignore:.*are few for FID")


@pytest.fixture
def last(trained):
    return trained / "last.ckpt"


@pytest.fixture
def options(last, tmp_path):
    """Everything but what is compared."""
    out = tmp_path / "comparison"
    return ("--checkpoint", last, "--data", "digits", "--n", 12, "--seed", 3, "--out", out)


@pytest.fixture
def compare(hqdm, options):
    def run(*more):
        return hqdm("compare-samplers", *options, *more)

    return run


def times_written(out):
    return {f.relative_to(out): f.stat().st_mtime_ns for f in out.rglob("images.safetensors")}


def test_entries_are_every_sampler_at_every_budget_or_at_its_own():
    entries = parse_entries("ddim,unipc3,ddpm:1000", "10, 5")
    assert entries == [
        Entry("ddim", 5),
        Entry("unipc3", 5),
        Entry("ddim", 10),
        Entry("unipc3", 10),
        Entry("ddpm", 1000),
    ]
    assert parse_entries("ddim,ddim:5,ddim", "5") == [Entry("ddim", 5)]


@pytest.mark.slow
def test_adaptive_samplers_are_compared_by_tolerance(compare, last, tmp_path):
    assert parse_entries("ddim,dpm-adaptive", "5") == [
        Entry("dpm-adaptive", tolerance=0.05),
        Entry("ddim", 5),
    ]
    out = tmp_path / "comparison"
    adaptive = ("--samplers", "dpm-adaptive:1,dpm-adaptive:0.2,ddim", "--nfe", "2")
    assert compare(*adaptive, "--grid", "lambda").code == 0
    assert compare(*adaptive, "--grid", "lambda", "--resume").code == 0
    report = json.loads((out / "comparison.json").read_text())
    coarse, fine, _ = report["results"]
    assert (coarse["tolerance"], fine["tolerance"], fine["steps"]) == (1, 0.2, None)
    assert 5 < coarse["evaluations"] < fine["evaluations"]
    sampler = build_sampler("dpm-adaptive", tolerance=0.2)
    samples = sample_images(load_denoiser(last), sampler, 12, seed=3)
    assert (fine["evaluations"], fine["rejected"]) == (samples.evaluations, samples.rejected)
    kept = load_file(out / "dpm-adaptive-0.2" / "images.safetensors")["images"]
    assert torch.equal(kept, to_uint8(samples.images))


@pytest.mark.parametrize(("name", "steps"), [("ddim", 10), ("heun", 5), ("dpm3", 4), ("rk4", 3)])
def test_a_budget_is_never_exceeded(name, steps):
    """Steps of 1, 2, 3 or 4 evaluations and a last one of 1."""
    assert Entry(name, 10).build().steps == steps
    assert Entry(name, 1).build().steps == 1


def test_results_are_those_of_sampling_and_scoring_apart(compare, last, tmp_path):
    outcome = compare("--samplers", "ddim,dpm2,ddpm:3", "--nfe", "4,1")
    assert outcome.code == 0
    out = tmp_path / "comparison"
    assert all(
        str(out / name) in outcome.out and (out / name).exists() for name in COMPARISON_FILES
    )
    report = json.loads((out / "comparison.json").read_text())
    for result in report["results"]:
        effort = f"{result['evaluations']} evaluations, {result['seconds']:.1f} s"
        line = f"{result['sampler']}: {effort}, FID {result['fid']:.3f}"
        assert line in outcome.out.splitlines()
    assert [(r["sampler"], r["nfe"], r["steps"], r["evaluations"]) for r in report["results"]] == [
        ("ddim", 1, 1, 1),
        ("dpm2", 1, 1, 1),
        ("ddpm", 3, 3, 3),
        ("ddim", 4, 4, 4),
        ("dpm2", 4, 2, 3),
    ]
    denoiser = load_denoiser(last)
    for result in report["results"]:
        sampler = build_sampler(result["sampler"], result["steps"])
        images = sample_images(denoiser, sampler, 12, seed=3).images
        folder = out / f"{result['sampler']}-{result['nfe']}"
        assert torch.equal(load_file(folder / "images.safetensors")["images"], to_uint8(images))
    own, _ = evaluate(denoiser, build_sampler("dpm2", 2), ScoringProtocol("digits", n=12, seed=3))
    # Stored images are rounded to grey levels.
    assert report["results"][-1]["fid"] == pytest.approx(own["scores"]["fid"], rel=0.02)
    assert report["floor"] == own["floor"]
    table = (out / "comparison.md").read_text().splitlines()
    assert table[0] == "digits, 12 images, digits features"
    assert len(table) == 2 + 2 + 5 + 1
    assert f"| {report['floor']['fid']:.3f} |" in table[-1]


def test_differences_from_the_least_are_paired():
    """Of the same images with small changes: the difference has a smaller error than each."""
    real, noise = (torch.randn(n, 6, generator=generator(n)).double() for n in (200, 300))
    limits = [fid_infinity(real, scale * noise) for scale in (0.7, 0.8, 0.72)]
    found = above_least(limits)
    assert found[1] == {"value": 0, "error": 0}
    for limit, above in zip(limits, found, strict=True):
        assert above["value"] == pytest.approx(limit.value - limits[1].value)
        own = difference(limit, limits[1])
        assert above["error"] == own.error < limit.error
    assert found[0]["value"] > 2 * found[0]["error"]


@pytest.mark.slow
def test_the_table_says_how_far_each_is_above_the_least(compare, tmp_path):
    assert compare("--samplers", "ddim", "--nfe", "1,2,5").code == 0
    report = json.loads((tmp_path / "comparison" / "comparison.json").read_text())
    limits = [result["fid_infinity"] for result in report["results"]]
    least = min(limits)
    table = (tmp_path / "comparison" / "comparison.md").read_text().splitlines()
    for result, row in zip(report["results"], table[4:], strict=False):
        above = result["fid_above_least"]
        assert above["value"] == pytest.approx(result["fid_infinity"] - least)
        cell = row.split("|")[-3].strip()
        written = f"{above['value']:.3f} ± {HALF_WIDTH * above['error']:.3f}"
        assert cell == (written if above["value"] else "")


@pytest.mark.slow
def test_resuming_draws_only_what_is_missing(compare, refused, options, tmp_path):
    out = tmp_path / "comparison"
    assert compare("--samplers", "ddim", "--nfe", "2").code == 0
    before = times_written(out)
    line = refused("compare-samplers", *options, "--samplers", "ddim", "--nfe", "2")
    assert "already holds comparison.json" in line
    assert compare("--samplers", "ddim,unipc2", "--nfe", "2,3", "--resume").code == 0
    after = times_written(out)
    assert len(after) == 4
    assert before.items() <= after.items()
    assert len(json.loads((out / "comparison.json").read_text())["results"]) == 4
    assert compare("--samplers", "ddim", "--nfe", "2", "--overwrite").code == 0
    assert times_written(out)[next(iter(before))] > next(iter(before.values()))


@pytest.mark.slow
def test_folders_of_hqdm_sample_are_taken(hqdm, compare, last, tmp_path):
    out = tmp_path / "comparison"
    drawn = ("--checkpoint", last, "--n", 12, "--seed", 3, "--sampler", "ddpm", "--steps", 2)
    assert hqdm("sample", *drawn, "--out", out / "ddpm-2").code == 0
    before = times_written(out)
    assert compare("--samplers", "ddpm:2", "--resume").code == 0
    assert times_written(out) == before
    (result,) = json.loads((out / "comparison.json").read_text())["results"]
    assert result["evaluations"] == 2
    assert result["seconds"] > 0


@pytest.mark.slow
def test_an_interrupted_entry_is_drawn_again(compare, tmp_path):
    """The record is written last: images without one may be another run's."""
    out = tmp_path / "comparison"
    assert compare("--samplers", "ddim", "--nfe", "2").code == 0
    expected = (out / "ddim-2" / "images.safetensors").read_bytes()
    (out / "ddim-2" / "sample.json").unlink()
    (out / "ddim-2" / "images.safetensors").write_bytes(b"half")
    assert compare("--samplers", "ddim", "--nfe", "2", "--resume").code == 0
    assert (out / "ddim-2" / "images.safetensors").read_bytes() == expected


@pytest.mark.slow
def test_images_drawn_in_another_way_are_refused(compare, refused, options, tmp_path):
    one = ("--samplers", "ddim", "--nfe", "2")
    assert compare(*one).code == 0
    again = ("compare-samplers", *options, *one, "--resume")
    assert "ddim-2 was generated with seed 3, not 4" in refused(*again, "--seed", 4)
    assert "ddim-2 was generated with grid time, not lambda" in refused(*again, "--grid", "lambda")
    assert "ddim-2 does not hold 10 images" in refused(*again, "--n", 10)
    record = tmp_path / "comparison" / "ddim-2" / "sample.json"
    other = json.loads(record.read_text()) | {"checkpoint_sha256": "0"}
    record.write_text(json.dumps(other))
    assert "ddim-2 was generated with checkpoint_sha256 0, not" in refused(*again)
    record.write_text("{}")
    assert "does not hold images with a record" in refused(*again)


@pytest.mark.parametrize(
    ("more", "said"),
    thinned(
        [
            (("--samplers", "ddim,dpm4"), "unknown sampler 'dpm4'"),
            (("--samplers", ""), "unknown sampler ''"),
            (("--samplers", "dpm-adaptive:x"), "a tolerance needs a number such as 0.05, got 'x'"),
            (("--samplers", "dpm-adaptive:0"), "a tolerance needs more than 0, got 0.0"),
            (("--samplers", "dpm-adaptive:nan"), "tolerance needs a finite number, got nan"),
            (("--samplers", "ddpm:x"), "whole numbers from 1, separated by commas, got 'x'"),
            (("--nfe", "5,0"), "whole numbers from 1, separated by commas, got '5,0'"),
            (("--nfe", "5,-1"), "got '5,-1'"),
            (("--nfe", "2.5"), "got '2.5'"),
            (("--grid", "logarithmic"), "unknown grid 'logarithmic'"),
            (("--data", "nosuch", "--offline"), "no data set 'nosuch'"),
            (("--n", 1), "FID, KID and IS need at least"),
            (("--seed", -1), "seed needs a whole number from 0, got -1"),
            (("--batch-size", 0), "batch_size needs a whole number from 1, got 0"),
            (("--guidance", 2), "guidance needs a model with class labels"),
        ],
        every=4,
    ),
)
def test_wrong_options_are_named(refused, options, more, said):
    line = refused("compare-samplers", *options, "--samplers", "ddim", "--nfe", "1", *more)
    assert said in line
