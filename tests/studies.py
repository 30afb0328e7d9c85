"""Studies without training: configurations are resolved by merging, results are made up."""

import json
from concurrent.futures import Future
from pathlib import Path

from hqdm.study.cells import Store, merged
from hqdm.study.chains import plan
from hqdm.study.file import parse_study
from hqdm.study.scores.names import IMPORTANCE

CONTENT = {
    "data": {
        "digits": {"data": {"name": "digits", "split": "train[:-237]", "val_split": "train[-237:]"}}
    },
    "models": {"circuits": {"model": {"network": {"dim": 8}}}},
    "controls": {"classical": {"of": "circuits", "model": {"network": {"hybrid": {}}}}},
    "seeds": [0, 1, 2],
    "steps": 4,
}
CHANGES = {"vertex": {"silenced": 0.25, "circuits_silenced": 0.125, "random_angles": None}}
EFFECT = {"circuits": 0.9, "classical": 1.0}


def study_of(**changes):
    """A study with other keys; `...` removes one."""
    content = {**CONTENT, **changes}
    return parse_study({k: v for k, v in content.items() if v is not ...}, Path("s.yaml"))


def resolve(words):
    """The keys in the arguments, merged."""
    settings = {"model": {}, "data": {}}
    for text in words[1::2]:
        settings = merged(settings, json.loads(text))
    return settings


def plan_of(folder, **changes):
    return plan(study_of(**changes), Store(folder), resolve)


def filled(folder, n=6, **changes):
    """A plan whose first n cells have results."""
    plan = plan_of(folder, **changes)
    cells = [cell for pair in plan.pairs for cell in plan.cells(*pair, None)]
    for cell in cells[:n]:
        write(plan.store, cell)
    return plan


def loss_of(cell):
    """A loss that depends on the model, the learning rate and the random seed."""
    model = "classical" if "hybrid" in cell.settings["model"]["network"] else "circuits"
    seed = cell.settings["seed_everything"]
    rate = cell.settings["model"].get("lr", 1e-3)
    return EFFECT[model] * (1 + 0.02 * seed + 0.001 * (seed % 2)) + abs(rate - 2e-3)


class MadeUp:
    """Workers that write made-up results, and are killed after some cells."""

    def __init__(self, store, most=1000):
        self.store, self.most, self.done = store, most, []

    def submit(self, cell):
        if len(self.done) == self.most:
            raise KeyboardInterrupt
        self.done.append(cell.key)
        write(self.store, cell)
        future = Future()
        future.set_result(None)
        return future

    def steps(self):
        return ()


def write(store, cell):
    loss = loss_of(cell)
    result = {"parameters": 10, "trained": 8, "quantum": 2, "curve": [[2, 2 * loss], [4, loss]]}
    scores = {name: CHANGES if name == IMPORTANCE else loss for name in cell.scores}
    store.write(cell, result, scores)
