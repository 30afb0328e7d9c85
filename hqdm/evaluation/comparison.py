"""Comparison of samplers: quality against network evaluations and against seconds.

Every entry, a sampler with a number of evaluations, generates the same number of images from the
same noise. The images and a record are stored in one folder per entry, and stored images can be
used again. Scores are computed from the stored images. The FID of each entry, in the limit of many
images, is compared with the least of them image by image (`hqdm.metrics.uncertainty.difference`),
since the errors of images from the same noise are correlated.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from hqdm.diffusion.denoiser import Denoiser
from hqdm.evaluation.protocol import (
    RealImages,
    Scorer,
    ScoringProtocol,
    limit_text,
    size_warnings,
    with_interval,
)
from hqdm.generation.sampling import IMAGES_FILE, RECORD_FILE, sample_images, save_samples
from hqdm.metrics.features import extractor_for, load_extractor
from hqdm.metrics.uncertainty import HALF_WIDTH, Estimate, difference
from hqdm.samplers import DDIM, Sampler
from hqdm.samplers.adaptive import DEFAULT_TOLERANCE
from hqdm.samplers.base import MAX_STEPS
from hqdm.samplers.registry import SAMPLERS, build_sampler, sampler_entry
from hqdm.storage.digests import check_digest, digest
from hqdm.utils.checks import whole
from hqdm.utils.errors import HQDMError
from hqdm.utils.files import together, write_file
from hqdm.utils.pictures import label_decades, save_figure, save_rows
from hqdm.utils.pixels import to_float
from hqdm.utils.progress import Progress, silent, stepwise
from hqdm.utils.tables import Sheet
from hqdm.utils.versions import provenance

COMPARISON_FILE, TABLE_FILE = "comparison.json", "comparison.md"
PLOT_FILE, ROWS_FILE = "comparison.png", "rows.png"
COMPARISON_FILES = (COMPARISON_FILE, TABLE_FILE, PLOT_FILE, ROWS_FILE)
IMAGES_IN_ROW = 12
LEAST_FID = 1e-3  # on a logarithmic axis; the limit of FID can be negative
CROWDED = 100  # ratio of an axis' ends above which ticks at 2 and 5 would overlap
COLUMNS = (
    *("sampler", "steps", "evaluations", "seconds", "FID", "of many ± 95 %"),
    *("above the least ± 95 %", "KID"),
)


@dataclass(frozen=True)
class Entry:
    """A sampler and its number of network evaluations.

    Attributes:
        sampler: Name of the sampler.
        nfe: Largest number of network evaluations; 0 if it follows from the sampler.
        tolerance: Error per step of an adaptive sampler.
    """

    sampler: str
    nfe: int = 0
    tolerance: float | None = None

    @property
    def folder(self) -> str:
        """The name of the folder of its images."""
        return f"{self.sampler}-{self.tolerance or self.nfe:g}"

    def build(self, grid: str | Sequence[float] | None = None, **loaded: Any) -> Sampler:
        """Build the sampler, with the largest number of steps within `nfe` evaluations.

        A sampler without the option `grid` ignores the grid.
        """
        if self.tolerance is not None:
            return build_sampler(self.sampler, tolerance=self.tolerance)
        if "grid" not in sampler_entry(self.sampler).options:
            return build_sampler(self.sampler, self.nfe or None, **loaded)
        return build_sampler(self.sampler, build_sampler(self.sampler).steps_for(self.nfe), grid)


@dataclass(frozen=True)
class Comparison:
    """The settings of a comparison.

    Attributes:
        checkpoint: Path of the model, for the record.
        checkpoint_sha256: Its digest, see `hqdm.diffusion.loading.model_digest`.
        entries: The samplers.
        protocol: Data set, number of images, seed and scores.
        out: Folder of the results.
        grid: The grid of all samplers; None is the default of each.
        resume: Use images that are stored in `out`.
        loaded: By name of a sampler, arguments loaded from files next to the checkpoint.
    """

    checkpoint: str
    checkpoint_sha256: str
    entries: Sequence[Entry]
    protocol: ScoringProtocol
    out: Path
    grid: str | Sequence[float] | None = None
    resume: bool = False
    loaded: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def parse_entries(samplers: str, nfe: str) -> list[Entry]:
    """The entries that `--samplers` and `--nfe` define, sorted by number of evaluations.

    Args:
        samplers: Names separated by commas, or `name:count` with its own number of evaluations, or
            `name:tolerance` for an adaptive sampler. A sampler without network evaluations has 0.
        nfe: Numbers of evaluations of all other samplers, separated by commas.

    Raises:
        HQDMError: If a name is unknown, a count is not a positive whole number, or a tolerance is
            not a number.
    """
    entries = []
    for item in samplers.split(","):
        name, _, own = item.strip().partition(":")
        kind = sampler_entry(name)
        if not kind.network and name in SAMPLERS:  # no +NAME follows
            entries.append(Entry(name, 0))
            continue
        if kind.adaptive:
            entries.append(Entry(name, tolerance=_tolerance(own)))
            continue
        entries += [Entry(name, count) for count in _counts(own or nfe)]
    return sorted(dict.fromkeys(entries), key=lambda entry: entry.nfe)


def _tolerance(text: str) -> float:
    try:
        return float(text or DEFAULT_TOLERANCE)
    except ValueError:
        raise HQDMError(f"a tolerance needs a number such as 0.05, got {text!r}") from None


def _counts(text: str) -> list[int]:
    counts = text.split(",")
    if not all(count.strip().isdecimal() and count.strip("0 ") for count in counts):
        raise HQDMError(
            f"numbers of evaluations need whole numbers from 1, separated by commas, got {text!r}"
        )
    known = [int(count.strip()[:9]) for count in counts]  # Python refuses thousands of digits
    whole("numbers of evaluations", max(known), 1, MAX_STEPS)
    return known


def compare(
    denoiser: Denoiser,
    comparison: Comparison,
    progress: Progress = silent,
    scored: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Generate and score images of each sampler from the same noise, and write all files.

    `comparison.json` and the images are written after each entry, so that an interrupted
    comparison can be resumed.

    Args:
        denoiser: The model.
        comparison: The settings.
        progress: Reports the samplers, and the images of each.
        scored: Called with the result of each entry.

    Returns:
        The contents of `comparison.json`.

    Raises:
        HQDMError: If the data set, the extractor, an option or stored images cannot be used.
    """
    protocol, shape = comparison.protocol, denoiser.image_shape
    samplers = [
        entry.build(comparison.grid, **comparison.loaded.get(entry.sampler, {}))
        for entry in comparison.entries
    ]
    name = protocol.extractor or extractor_for(protocol.data, shape[1], shape[0])
    extractor = load_extractor(name, protocol.fid_weights)
    real = RealImages.load(protocol, shape, progress)
    scorer = Scorer(real, extractor, protocol.seed, progress)
    report: dict[str, Any] = {
        "checkpoint": comparison.checkpoint,
        "checkpoint_sha256": comparison.checkpoint_sha256,
        "protocol": {**asdict(protocol), "extractor": name, "grid": comparison.grid},
        "floor": scorer.floor(),
        "results": [],
        "data": real.digests,
        "provenance": provenance(),
        "warnings": size_warnings(protocol, real),
    }
    del report["protocol"]["restore_t"], report["protocol"]["offline"]
    done = stepwise(progress, "samplers", len(samplers))
    rows: dict[str, Tensor] = {}
    limits: list[Estimate] = []
    warm = False
    for entry, sampler in zip(comparison.entries, samplers, strict=True):
        folder = comparison.out / entry.folder
        if not (comparison.resume and (folder / RECORD_FILE).exists()):
            if not warm:  # the first evaluations compile and allocate; excluded from timings
                size = max(1, min(protocol.n, protocol.batch_size))
                warmed = stepwise(progress, "warm-up", 1)
                sample_images(denoiser, DDIM(1), size, batch_size=protocol.batch_size)
                warmed()
                warm = True
            _draw(denoiser, sampler, comparison, folder, progress)
        record, images = _kept(folder, _settings(sampler, comparison))
        effort = {key: record.get(key) for key in ("steps", "evaluations", "rejected", "seconds")}
        features = scorer.features(images)
        limits.append(scorer.limit(features))
        result = {**asdict(entry), **effort, **scorer.scores_of(features, limits[-1])}
        report["results"].append(result)
        for other, above in zip(report["results"], above_least(limits), strict=True):
            other["fid_above_least"] = above
        write_file(comparison.out / COMPARISON_FILE, json.dumps(report, indent=2) + "\n")
        rows[f"{entry.sampler} {record['evaluations']}"] = to_float(images[:IMAGES_IN_ROW])
        done()
        if scored:
            scored(result)
    with together():
        write_file(comparison.out / TABLE_FILE, comparison_sheet(report).markdown())
        save_rows(list(rows.items()), comparison.out / ROWS_FILE)
        save_plot(report, comparison.out / PLOT_FILE)
    return report


def above_least(limits: Sequence[Estimate]) -> list[dict[str, float]]:
    """The difference of each FID from the least one, `value`, and its standard error, `error`.

    An interval that contains 0 does not tell the two apart; those of several entries are not
    adjusted for their number.
    """
    least = min(limits, key=lambda limit: limit.value)
    above = [difference(limit, least) for limit in limits]
    return [{"value": found.value, "error": found.error} for found in above]


def _settings(sampler: Sampler, comparison: Comparison) -> dict[str, Any]:
    """The settings on which the images of an entry depend."""
    protocol = comparison.protocol
    return {
        "checkpoint": comparison.checkpoint,
        "checkpoint_sha256": comparison.checkpoint_sha256,
        "n": protocol.n,
        "seed": protocol.seed,
        "guidance": protocol.guidance,
        "label": None,
        **sampler.settings,
    }


def _draw(
    denoiser: Denoiser,
    sampler: Sampler,
    comparison: Comparison,
    folder: Path,
    progress: Progress,
) -> None:
    """Generate and store the images of an entry."""
    protocol = comparison.protocol
    samples = protocol.draw(denoiser, sampler, progress)
    settings = {**_settings(sampler, comparison), "batch_size": protocol.batch_size}
    save_samples(samples, sampler, folder, RECORD_FILE, settings)


def _kept(folder: Path, settings: dict[str, Any]) -> tuple[dict[str, Any], Tensor]:
    """The stored record and images `(N, C, H, W)` in uint8 of an entry.

    Raises:
        HQDMError: If they are damaged, or were generated with other settings.
    """
    try:
        record = json.loads((folder / RECORD_FILE).read_text())
        stored = (folder / IMAGES_FILE).read_bytes()
        images = load(stored)["images"]
        effort = record["evaluations"], record["seconds"]
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise HQDMError(
            f"{folder} does not hold images with a record ({error!r}): remove it"
        ) from None
    check_digest(record.pop("sha256", None), digest(stored), folder / IMAGES_FILE)
    if None in effort or len(images) != settings["n"]:
        raise HQDMError(f"{folder} does not hold {settings['n']} images: remove it")
    settings = {**settings, "checkpoint": str(Path(settings["checkpoint"]).resolve())}
    record["checkpoint"] = str(Path(record.get("checkpoint", settings["checkpoint"])).resolve())
    for key, expected in settings.items():
        if record.get(key, expected) != expected:
            raise HQDMError(
                f"{folder} was generated with {key} {record[key]}, not {expected}: remove it, or "
                "name another folder with --out"
            )
    return {**settings, **record}, images


def comparison_sheet(report: dict[str, Any]) -> Sheet:
    """The scores per entry, and those of real images against other real images."""
    protocol = report["protocol"]
    title = f"{protocol['data']}, {protocol['n']} images, {protocol['extractor']} features"
    rows = []
    for result in report["results"]:
        counts = (str(result["steps"] or "as needed"), str(result["evaluations"]))
        rows.append((result["sampler"], *counts, f"{result['seconds']:.1f}", *_scores(result)))
    rows.append(("real against real", "", "", "", *_scores(report["floor"])))
    return Sheet(title, COLUMNS, rows)


def _scores(scores: dict[str, Any]) -> tuple[str, ...]:
    above = scores.get("fid_above_least")  # the floor has none
    return (
        f"{scores['fid']:.3f}",
        limit_text(scores),
        with_interval(**above) if above and above["value"] else "",
        f"{scores['kid']:.4f} ± {scores['kid_error']:.4f}",
    )


def save_plot(report: dict[str, Any], path: Path) -> None:
    """Plot the limit of FID against evaluations and against seconds, one line per sampler."""
    from matplotlib import colormaps  # slow to import
    from matplotlib.figure import Figure
    from matplotlib.ticker import Locator, LogLocator, SymmetricalLogLocator

    results = report["results"]
    figure = Figure(figsize=(9, 4), layout="constrained")
    for axes, key in zip(
        figure.subplots(1, 2, sharey=True), ("evaluations", "seconds"), strict=True
    ):
        shades = colormaps["tab20"](range(20))  # pairs of a dark and a light one
        axes.set_prop_cycle(color=[*shades[::2], *shades[1::2]])
        for name in dict.fromkeys(result["sampler"] for result in results):
            own = [result for result in results if result["sampler"] == name]
            own.sort(key=lambda result: result[key])
            places = [result[key] for result in own]
            errors = [HALF_WIDTH * result["fid_error"] for result in own]
            heights = [max(result["fid_infinity"], LEAST_FID) for result in own]
            axes.errorbar(places, heights, errors, fmt="o-", label=name, markersize=4, capsize=2)
        floor = max(report["floor"]["fid_infinity"], LEAST_FID)
        axes.axhline(floor, color="grey", linestyle="--", label="real against real")
        axes.set(xscale="log", yscale="log", xlabel=key)
        spent = [result[key] for result in results if result[key]]
        marks = (1, 2, 5) if spent and max(spent) < CROWDED * min(spent) else (1,)
        locator: Locator = LogLocator(subs=marks)
        if len(spent) < len(results):  # samplers without network have 0 evaluations
            axes.set_xscale("symlog", linthresh=1)
            locator = SymmetricalLogLocator(base=10, linthresh=1, subs=marks)
        label_decades(axes.xaxis, locator)
        label_decades(axes.yaxis)
        axes.grid(alpha=0.3, which="both")
    figure.axes[0].set_ylabel("FID, limit of many images, 95 % intervals")
    figure.axes[0].legend()
    save_figure(figure, path)
