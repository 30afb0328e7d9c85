"""The work of one cell: training, from its last checkpoint if there is one, then its scores."""

from collections.abc import Callable, Sequence
from typing import Any

from hqdm.diffusion.loading import load_any
from hqdm.diffusion.model import Model
from hqdm.nn.parts import count, quantum_parameters
from hqdm.storage.checkpoint import LAST
from hqdm.study.cells import Cell, Store
from hqdm.study.scores.models import scores_of
from hqdm.training.finite import Diverged
from hqdm.training.optim import VAL_LOSS
from hqdm.utils.checks import device_named
from hqdm.utils.errors import about
from hqdm.utils.pictures import read_metric
from hqdm.utils.versions import provenance

Stepped = Callable[[int], None]
"""Called with the number of training steps taken."""

Fit = Callable[[Sequence[str], Stepped], None]
"""Trains with arguments of `hqdm fit`."""


def complete(cell: Cell, store: Store, fit: Fit, stepped: Stepped) -> None:
    """Train and score a cell, and write its result; what exists is not computed again.

    A training that diverges is a result, too.

    Args:
        cell: The cell.
        store: The files.
        fit: Trains.
        stepped: Receives the steps.

    Raises:
        HQDMError: If the configuration, the data or the folder cannot be used.
        Interrupted: If a signal stopped the training, after a checkpoint.
    """
    if store.complete(cell):
        return
    run = store.run(cell)
    last = run / LAST
    resume = ["--resume", str(last)] if last.exists() else []
    with about(cell.name):
        try:
            fit([*cell.arguments, "--out", str(run), *resume], stepped)
        except Diverged as error:
            store.write(cell, {"failure": str(error), "provenance": provenance()}, {})
            return
        model = load_any(last).to(device_named("auto"))
        found = store.result(cell)
        missing = [name for name in cell.scores if found is None or name not in found["scores"]]
        scores = scores_of(model, missing, cell.protocol)
    store.write(cell, _described(model, cell, store), scores)


def _described(model: Model, cell: Cell, store: Store) -> dict[str, Any]:
    """The result of a cell without its scores."""
    logs = store.run(cell) / "csv"
    curves = {name: read_metric(logs, name) for name in (VAL_LOSS, "train_loss")}
    name = VAL_LOSS if curves[VAL_LOSS] else "train_loss"
    return {
        "parameters": count(model.parameters()),
        "trained": count(p for p in model.parameters() if p.requires_grad),
        "quantum": count(quantum_parameters(model)),
        "curve": [[step, loss] for step, loss in curves[name].items()],
        "curve_of": name,
        "provenance": provenance(),
    }
