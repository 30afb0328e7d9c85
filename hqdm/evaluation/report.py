"""Scores of a trained model, with the settings that reproduce them.

* scores of the samples as a set (FID, KID, MMD, IS, precision, recall, density, coverage), with
  those of real images against other real images as the floor, and the classes of both,
* on demand the feature likelihood divergence (FLD), which training images would have as 0,
* energy distance and pixel FID, for few images or a data set without an extractor of its own,
* SSIM and PSNR of test images that were noised and restored,
* memorisation of training images, by nearest neighbours,
* the effect of the circuits on the test loss,
* for networks of amplitudes the error of one step, and that of the best unitary matrix.
"""

import json
from copy import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hqdm.data.images import canonical_name
from hqdm.data.sets import ImageSet
from hqdm.diffusion.denoiser import Denoiser
from hqdm.evaluation.ablation import quantum_effect
from hqdm.evaluation.protocol import RealImages, Scorer, ScoringProtocol, limit_text, size_warnings
from hqdm.evaluation.unitary_bound import bound_rows, unitary_bound
from hqdm.generation.sampling import GRID_FILE, guided
from hqdm.metrics.cache import reference_distances
from hqdm.metrics.classes import class_histogram
from hqdm.metrics.distribution import FEW_IMAGES
from hqdm.metrics.features import FeatureExtractor, extractor_for, load_extractor
from hqdm.metrics.memorisation import compare_distances
from hqdm.metrics.pairs import pair_scores
from hqdm.metrics.pixel_distances import pixel_scores
from hqdm.nn.parts import classical_parameters, count, quantum_parameters
from hqdm.samplers import Sampler
from hqdm.utils.errors import HQDMError
from hqdm.utils.files import together, write_file
from hqdm.utils.pictures import save_grid
from hqdm.utils.pixels import to_float
from hqdm.utils.progress import Progress, silent, stepwise
from hqdm.utils.seeds import ImageNoise
from hqdm.utils.tables import Sheet
from hqdm.utils.versions import provenance

METRICS_FILE = "metrics.json"
REPORT_FILES = (METRICS_FILE, GRID_FILE)

RESTORED = 256
"""Largest number of test images that are noised and restored; n if that is less."""

ABLATED = 1024
"""Largest number of test images of the ablation of the circuits and of the error of one step; n if
that is less."""


SET_SCORES = {
    "FID": "{fid:.3f}",
    "FID of many samples ± 95 %": "{limit}",
    "KID ± standard error": "{kid:.4f} ± {kid_error:.4f}",
    "MMD ± standard error": "{mmd:.5f} ± {mmd_error:.5f}",
    "IS ± deviation of ten parts": "{is_mean:.4f} ± {is_std:.4f}",
    "precision / recall": "{precision:.3f} / {recall:.3f}",
    "density / coverage": "{density:.3f} / {coverage:.3f}",
    "unsure images": "{unsure:.1%}",
}
"""The rows of scores of a set of images."""


def evaluate(
    denoiser: Denoiser,
    sampler: Sampler,
    protocol: ScoringProtocol,
    progress: Progress = silent,
) -> tuple[dict[str, Any], Tensor]:
    """Generate samples and score them.

    Args:
        denoiser: The model.
        sampler: The sampler, also of the restoration.
        protocol: The scoring protocol.
        progress: Reports every part of the computation.

    Returns:
        The contents of `metrics.json`, and the samples `(N, C, H, W)` in [-1, 1].

    Raises:
        HQDMError: If the data set, the extractor or a number cannot be used.
    """
    if not 0 < protocol.restore_t <= 1:
        raise HQDMError(f"restore_t needs a time in (0, 1], got {protocol.restore_t}")
    shape = denoiser.image_shape
    name = protocol.extractor or extractor_for(protocol.data, shape[1], shape[0])
    extractor = load_extractor(name, protocol.fid_weights)
    real = RealImages.load(protocol, shape, progress)
    samples = protocol.draw(denoiser, sampler, progress)
    scorer = Scorer(real, extractor, protocol.seed, progress)
    features = scorer.features(samples.images)
    report = {
        "scores": scorer.scores_of(features),
        "floor": scorer.floor(),
        "fld": scorer.likelihood_divergence(features) if protocol.fld else None,
        "classes": {
            name: class_histogram(logits)
            for name, (_, logits) in {"samples": features, "real": scorer.reference}.items()
        },
        "pixels": _pixels(samples.images, protocol, real, extractor, progress),
        "restoration": None
        if sampler.from_noise
        else _restoration(denoiser, sampler, protocol, real.test, progress),
        "memorisation": _memorisation(samples.images, real, progress),
        "quantum_effect": _quantum_effect(denoiser, protocol, real.test, progress),
        "unitary_bound": _unitary_bound(denoiser, protocol, real.test),
        "model": {
            "parameters": count(denoiser.parameters()),
            "quantum": count(quantum_parameters(denoiser)),
            "classical": count(classical_parameters(denoiser)),
        },
        "protocol": {
            "data": protocol.data,
            **({} if protocol.classes is None else {"classes": list(protocol.classes)}),
            "extractor": extractor.name,
            "n": protocol.n,
            "reference_n": len(real.reference),
            "floor_n": len(real.other),
            "value_range": [-1, 1],
            "image_shape": list(shape),
            "resize": _resize(extractor, shape),
            **sampler.settings,
            "evaluations": samples.evaluations,
            "guidance": protocol.guidance,
            "seed": protocol.seed,
        },
        "seconds": {"sampling": round(samples.seconds, 2)},
        "data": real.digests,
        "provenance": provenance(),
        "warnings": size_warnings(protocol, real),
    }
    return report, samples.images


def _resize(extractor: FeatureExtractor, shape: tuple[int, int, int]) -> str:
    if (extractor.channels, extractor.size) == (shape[0], shape[1]):
        return "none"
    return (
        f"{shape[1]}x{shape[1]}x{shape[0]} to {extractor.size}x{extractor.size}x"
        f"{extractor.channels} by the extractor"
    )


def _pixels(
    images: Tensor,
    protocol: ScoringProtocol,
    real: RealImages,
    extractor: FeatureExtractor,
    progress: Progress,
) -> dict[str, dict[str, float]] | None:
    """The `pixel_scores` of the samples, and those of the other real images as the floor.

    None for `FEW_IMAGES` or more of a data set with an extractor of its own, whose features
    describe them better.
    """
    if protocol.n >= FEW_IMAGES and extractor.name == canonical_name(protocol.data):
        return None
    scored = stepwise(progress, "distances of pixels", 2)
    found = {}
    for name, others in (("scores", images), ("floor", real.other)):
        found[name] = pixel_scores(real.reference, others)
        scored()
    return found


@torch.no_grad()
def _restoration(
    denoiser: Denoiser,
    sampler: Sampler,
    protocol: ScoringProtocol,
    test: ImageSet,
    progress: Progress,
) -> dict[str, float | int]:
    """SSIM and PSNR of test images that were noised to `restore_t` and restored.

    A grid given as times starts at t = 1 and is replaced by the sampler's default.
    """
    sampler = copy(sampler)
    if not isinstance(sampler.times, str):
        sampler.times = sampler.default_grid
    device = next(denoiser.parameters()).device
    originals = to_float(test.images[: min(RESTORED, protocol.n)])
    labels = test.labels if denoiser.n_classes is not None else None
    restored = []
    alpha, sigma = denoiser.schedule(torch.tensor(protocol.restore_t, dtype=torch.float64))
    starts = range(0, len(originals), protocol.batch_size)
    n_steps = len(sampler.grid(denoiser.schedule, protocol.restore_t, 0.0)) - 1
    stepped = stepwise(progress, "restoration", len(starts) * n_steps)
    for first in starts:
        x0 = originals[first : first + protocol.batch_size].to(device, denoiser.working_dtype)
        y = None if labels is None else labels[first : first + len(x0)].to(device)
        noise = ImageNoise(protocol.seed, len(x0), first)
        x_t = alpha * x0 + sigma * noise.draw_like(x0)
        denoising = guided(denoiser, protocol.guidance)
        result = sampler.run(
            denoising, x_t, y, t_start=protocol.restore_t, noise=noise, callback=stepped
        )
        restored.append(result.x0.cpu())
    scores = pair_scores(originals, torch.cat(restored))
    return {"t": protocol.restore_t, "n": len(originals), **scores}


def _quantum_effect(
    denoiser: Denoiser, protocol: ScoringProtocol, test: ImageSet, progress: Progress
) -> dict[str, float] | None:
    """The losses of `quantum_effect` on test images; None for a classical model."""
    labels = test.labels if denoiser.n_classes is not None else None
    n = min(ABLATED, protocol.n)
    y = None if labels is None else labels[:n]
    effect = quantum_effect(
        denoiser, to_float(test.images[:n]), y, protocol.seed, progress=progress
    )
    return None if effect is None else asdict(effect)


def _unitary_bound(
    denoiser: Denoiser, protocol: ScoringProtocol, test: ImageSet
) -> dict[str, float] | None:
    """The errors of `unitary_bound` on test images; None for other networks."""
    n = min(ABLATED, protocol.n)
    y = None if test.labels is None else test.labels[:n]
    found = unitary_bound(denoiser, to_float(test.images[:n]), y, protocol.seed)
    return None if found is None else asdict(found)


def _memorisation(images: Tensor, real: RealImages, progress: Progress) -> dict[str, Any]:
    """The scores of `nearest_training`, without the list of neighbours."""
    train = real.train.images
    held_out = reference_distances(real.test.images[: len(images)], train, progress)
    found = compare_distances(images, train, held_out, progress)
    return {key: value for key, value in found.items() if key != "nearest"}


def write_report(report: dict[str, Any], images: Tensor, out: Path) -> str:
    """Write `metrics.json` and a grid of the first samples.

    Returns:
        The names of the files, for a message.
    """
    with together():
        write_file(out / METRICS_FILE, json.dumps(report, indent=2) + "\n")
        save_grid(images[:64], out / GRID_FILE)
    return f"{out / METRICS_FILE}, {out / GRID_FILE}"


def score_sheet(report: dict[str, Any]) -> Sheet:
    """The scores, and those of real images against other real images."""
    scores, floor = report["scores"], report["floor"]
    protocol, pairs = report["protocol"], report["restoration"]
    title = (
        f"{protocol['data']}, {protocol['n']} samples, {protocol['sampler']} "
        f"{protocol['evaluations']} evaluations, {protocol['extractor']} features"
    )
    rows = [
        (label, *(text.format(**kept, limit=limit_text(kept)) for kept in (scores, floor)))
        for label, text in SET_SCORES.items()
    ]
    if report["fld"] is not None:
        rows.append(("FLD", f"{report['fld']:.2f}", "0 by definition"))
    if report["pixels"] is not None:
        model, real = report["pixels"]["scores"], report["pixels"]["floor"]
        for key, label in (("energy_distance", "energy distance"), ("pixel_fid", "pixel FID")):
            rows.append((label, f"{model[key]:.4f}", f"{real[key]:.4f}"))
    if pairs is not None:
        rows += [
            (f"SSIM, restored from t = {pairs['t']}", f"{pairs['ssim']:.4f}", ""),
            (f"PSNR, restored from t = {pairs['t']}", f"{pairs['psnr']:.2f} dB", ""),
        ]
    rows += [
        *_effect_rows(report["quantum_effect"]),
        *((*row, "") for row in bound_rows(report["unitary_bound"])),
    ]
    found = report["memorisation"]
    rows.append(("memorised / copies", f"{found['memorised']} / {found['copies']}", "1 % by rule"))
    return Sheet(title, ("score", "model", "real against real"), rows)


def _effect_rows(effect: dict[str, float] | None) -> list[tuple[str, str, str]]:
    """Rows of the losses of `quantum_effect`; none for a classical model."""
    if effect is None:
        return []
    rows = [("test loss", f"{effect['loss']:.5f}", "")]
    for key, label in (
        ("random_angles", "  with random angles"),
        ("mean_output", "  with circuits silenced"),
    ):
        change = effect[key] / effect["loss"] - 1
        rows.append((label, f"{effect[key]:.5f} ({change:+.2%})", ""))
    return rows
