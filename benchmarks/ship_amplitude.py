"""The amplitude-embedded denoisers of benchmarks/models, and their picture in docs/amplitude.md.

    python benchmarks/ship_amplitude.py [--runs FOLDER] [--updates N] [--models FOLDER]
                                        [--picture FILE]

Trains the configurations in `CONFIGS` as `hqdm fit` does, each into a folder of `--runs`; a
finished run that is there already is taken as it is. Writes a model folder for each, whose README
has the command and the scores, and one picture of their samples, with the best unitary matrix for
the same training images and with real images.

Of 1 to 20 steps in sampling, the number of least energy distance to the images of the training
split is taken; the scores are those of the test split. Set other configurations in `CONFIGS` and
run it again.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from simulators import RESULTS
from torch import Tensor

from hqdm import Denoiser, ImageNoise
from hqdm.cli.commands.fit import TrainingCLI
from hqdm.data.images import load_images
from hqdm.diffusion.denoiser import class_labels
from hqdm.diffusion.loading import load_denoiser
from hqdm.evaluation.unitary_bound import best_unitary
from hqdm.generation.sampling import guided
from hqdm.metrics import pixel_scores
from hqdm.nn.parts import count
from hqdm.samplers.registry import build_sampler
from hqdm.storage.checkpoint import LAST, read_checkpoint
from hqdm.storage.hub import CARD_FILE
from hqdm.utils.files import write_file
from hqdm.utils.pictures import save_rows
from hqdm.utils.pixels import to_float

REPOSITORY = RESULTS.parents[1]
# Folder of the model, by the name of its configuration: network, configuration, sampler.
CONFIGS = {
    "qdense_digits": ("Q-Dense", "qdense_digits_guided", "iterate"),
    "qunet_digits": ("QU-Net", "qunet_digits", "iterate"),
    "uss_digits": ("USS", "uss_digits", "uss"),
}
TAUS = range(1, 21)
N, SHOWN, SEED = 256, 12, 0
QUIET = (
    "--trainer.logger",
    "false",
    "--trainer.enable_progress_bar",
    "false",
    "--sample-every",
    "0",
)


@dataclass
class Drawn:
    """Samples at the best number of steps.

    Attributes:
        tau: The number of steps.
        images: The samples `(N, C, H, W)`.
        scores: Energy distance and pixel FID to the test images.
    """

    tau: int
    images: Tensor
    scores: dict[str, float]

    def __str__(self) -> str:
        """The number of steps and the scores."""
        distance, fid = self.scores["energy_distance"], self.scores["pixel_fid"]
        return f"{self.tau} steps, energy distance {distance:.3f}, pixel FID {fid:.2f}"


def digits(split: str) -> Tensor:
    """The zeros and ones of a split."""
    return to_float(load_images("digits", split, classes=[0, 1]).images)


def trained(config: str, folder: Path, updates: int | None) -> TrainingCLI:
    """The run of a configuration, which is trained unless it is finished."""
    limit = () if updates is None else ("--trainer.max_steps", str(updates))
    cli = TrainingCLI(["--config", config, *QUIET, *limit, "--out", str(folder / config)])
    last = folder / config / LAST
    cli.datamodule.setup()
    per_epoch = len(cli.datamodule.train_set.images) // cli.datamodule.batch_size
    expected = updates or cli.config["trainer"]["max_epochs"] * per_epoch
    if not last.exists() or read_checkpoint(last).contents["global_step"] < expected:
        cli.run()
    return cli


@torch.no_grad()
def drawn(denoiser: Denoiser, sampler: str) -> Drawn:
    """Samples of a model at its best number of steps."""
    noise = ImageNoise(SEED, N)
    x1, y, wrapped = denoiser.prior(noise), class_labels(denoiser, N), guided(denoiser, 1.0)
    images = [build_sampler(sampler, tau)(wrapped, x1, y, noise=noise) for tau in TAUS]
    distances = [pixel_scores(digits("train"), one)["energy_distance"] for one in images]
    place = distances.index(min(distances))
    return Drawn(TAUS[place], images[place], pixel_scores(digits("test"), images[place]))


def card(name: str, denoiser: Denoiser, found: Drawn) -> str:
    """The README of a model."""
    network, config, sampler = CONFIGS[name]
    real = pixel_scores(digits("test"), digits("train"))
    lines = [
        f"# {network} on the digits 0 and 1",
        f"`configs/amplitude/{config}.yaml` ({count(denoiser.parameters()):,} parameters, random "
        f"seed 0), trained on 80 images of the 8x8 digits in scikit-learn:",
        f"    hqdm fit --config {config}\n"
        f"    hqdm sample --checkpoint {name} --sampler {sampler} --steps {found.tau}",
        f"{N} samples of {found.tau} steps, the best number on the images of the training split, "
        f"have the energy distance {found.scores['energy_distance']:.3f} and the pixel FID "
        f"{found.scores['pixel_fid']:.2f} to the test images; the images of the training split "
        f"have {real['energy_distance']:.3f} and {real['pixel_fid']:.2f}.",
        "Written by `benchmarks/ship_amplitude.py`.",
    ]
    return "\n\n".join(lines) + "\n"


def main() -> None:
    """Train what is missing, write the models and the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs (runs)")
    parser.add_argument("--updates", type=int, help="updates of each (those of its configuration)")
    parser.add_argument("--models", type=Path, default=REPOSITORY / "benchmarks" / "models")
    picture = REPOSITORY / "docs" / "images" / "amplitude.png"
    parser.add_argument("--picture", type=Path, default=picture)
    options = parser.parse_args()
    rows = []
    for name, (network, config, sampler) in CONFIGS.items():
        cli = trained(config, options.runs, options.updates)
        denoiser = load_denoiser(options.runs / config)
        found = drawn(denoiser, sampler)
        write_file(options.models / name / CARD_FILE, card(name, denoiser, found))
        denoiser.save_pretrained(options.models / name)
        rows.append((f"{network}, tau = {found.tau}", found.images[:SHOWN]))
        print(f"{network}: {found}")
    x0 = to_float(cli.datamodule.train_set.images)  # of the last configuration, that of USS
    matrix, _ = best_unitary(denoiser.objective, denoiser.schedule, x0)
    found = drawn(Denoiser(matrix, denoiser.schedule, denoiser.objective).eval(), "uss")
    print(f"best unitary: {found}")
    rows.append((f"best unitary, tau = {found.tau}", found.images[:SHOWN]))
    save_rows([*rows, ("test images", digits("test")[:SHOWN])], options.picture)


if __name__ == "__main__":
    main()
