"""Scores of generated states, with those of the prior and of real states, and the controls.

The states of the ensemble are drawn anew for the scores: neither training nor validation saw them.
Three sets are compared with them: generated states, states of the prior, which the identity map
generates, and others of the ensemble, whose scores are the floor.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

from torch import Tensor

from hqdm.states.density import as_density
from hqdm.states.models.denoiser import StateDenoiser
from hqdm.states.runs.controls import Controls, control_sheet
from hqdm.states.runs.data import StateDataModule
from hqdm.states.runs.sampling import sample_states
from hqdm.states.scores import LEAST, state_scores, transport_is_installed
from hqdm.utils.checks import whole
from hqdm.utils.errors import HQDMError
from hqdm.utils.files import write_file
from hqdm.utils.progress import Progress, silent, stepwise
from hqdm.utils.seeds import generator
from hqdm.utils.tables import Page, Sheet
from hqdm.utils.versions import provenance

METRICS_FILE = "metrics.json"

PRIOR_STREAM = 11


def evaluate(
    model: StateDenoiser,
    data: StateDataModule,
    n: int,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Generate states and score them.

    Args:
        model: The model.
        data: The data of its run.
        n: Number of generated states, and of real ones.
        seed: Random seed of both.
        progress: Reports the parts of the computation.

    Returns:
        The contents of `metrics.json`.

    Raises:
        HQDMError: If the data are of other states than the model, or a number is out of range.
    """
    whole("n", n, LEAST)
    real, others = (fresh_states(model, data, n, seed, part) for part in (0, 1))
    samples = sample_states(model, n, seed, progress)
    draws = generator(seed, PRIOR_STREAM)
    prior = model.channel.prior(n, model.n_qubits, draws).to(model.dtype)
    sets = {"scores": samples.states, "identity": prior, "floor": others}
    scored = stepwise(progress, "scores", len(sets))
    report: dict[str, Any] = {}
    for name, states in sets.items():
        report[name] = state_scores(states, real, data.ensemble.centre, seed)
        scored()
    return {
        **report,
        "controls": asdict(Controls.of(model, real)),
        "protocol": {"data": data.identity, "n": n, "seed": seed, "data_seed": data.seed},
        "seconds": {"sampling": round(samples.seconds, 2)},
        "provenance": provenance(),
    }


def fresh_states(
    model: StateDenoiser, data: StateDataModule, n: int, seed: int, part: int
) -> Tensor:
    """States of the ensemble for tests, see `StateDataModule.fresh`, of the kind of the model.

    Raises:
        HQDMError: If they are of other states than the model.
    """
    if data.n_qubits != model.n_qubits or (model.pure and not data.pure):
        kinds = {True: "kets", False: "density matrices"}
        raise HQDMError(
            f"the data are {kinds[data.pure]} of n_qubits={data.n_qubits} and the model generates "
            f"{kinds[model.pure]} of n_qubits={model.n_qubits}: name the data of its run"
        )
    states = data.fresh(n, seed, part)
    return states if model.pure else as_density(states)


def write_report(report: dict[str, Any], out: Path) -> str:
    """Write `metrics.json`; returns its name, for a message."""
    write_file(out / METRICS_FILE, json.dumps(report, indent=2) + "\n")
    return str(out / METRICS_FILE)


def score_page(report: dict[str, Any]) -> Page:
    """The scores of the three sets, and the controls."""
    protocol = report["protocol"]
    sheet = Sheet(
        f"{protocol['data']['ensemble']}, {protocol['n']} states",
        ("score", "model", "prior", "real against real"),
        list(_rows([report[name] for name in ("scores", "identity", "floor")])),
    )
    notes = [
        f"prior: {protocol['n']} states drawn from that of the channel, which the identity map "
        "returns; without training, its exact average"
    ]
    if not transport_is_installed():
        notes.append("Wasserstein: pip install 'hqdm[states]' (POT)")
    return Page([sheet, control_sheet(Controls(**report["controls"]))], {"": notes})


def _rows(columns: Sequence[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    """The rows of a table with the scores of several sets."""
    found: Sequence[Any] = columns  # of nested mappings and sequences

    def row(name: str, *keys: str | int, digits: int = 4) -> tuple[str, ...]:
        values: Iterator[Any] = (reduce(getitem, keys, column) for column in found)
        return (name, *(f"{value:z.{digits}f}" for value in values))

    yield row("fidelity of the averages", "average_fidelity")
    if columns[0]["centre_fidelity"] is not None:
        yield row("mean fidelity to the centre", "centre_fidelity")
    yield row("MMD²", "mmd", digits=5)
    yield row("  95 % from", "mmd_interval", 0, digits=5)
    yield row("  to", "mmd_interval", 1, digits=5)
    if columns[0]["wasserstein"] is not None:
        yield row("Wasserstein", "wasserstein")
    for name in columns[0]["observables"]:
        yield row(name, "observables", name, "mean")
        yield row("  standard deviation", "observables", name, "sd")
