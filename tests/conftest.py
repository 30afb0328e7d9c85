"""Fixtures that several rooms share, and the division of the machine among the workers."""

import os
import sys
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import yaml
from programs import CIRCUITS, sample, value_and_gradients
from threadpoolctl import threadpool_limits

from hqdm.cli.main import main
from hqdm.nn import UNet
from hqdm.simulators import CompiledSimulator
from hqdm.simulators.compiled.lanes import n_lanes
from hqdm.utils import plugins
from hqdm.utils.files import write_file
from hqdm.utils.registry import Registry

# The workers of `pytest -n` share the cores: more threads than cores wait for each other. The
# variable is for the processes that tests start; a test that needs a number of threads sets it.
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
if WORKERS > 1:
    n_threads = max(1, torch.get_num_threads() // WORKERS)
    torch.set_num_threads(n_threads)
    threadpool_limits(n_threads)
    os.environ["OMP_NUM_THREADS"] = str(n_threads)

# Rich and the progress bars of libraries would fill the logs.
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")


@pytest.fixture(autouse=True)
def _seeded():
    """Every test starts from the same random state."""
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _kernels():
    """Workers compile the kernels before their tests, half of them each dtype first."""
    if WORKERS > 1:
        dtypes = [torch.float32, torch.float64]
        for dtype in dtypes if WORKER % 2 == 0 else reversed(dtypes):
            value_and_gradients(CompiledSimulator(), CIRCUITS[0], *sample(CIRCUITS[0], dtype=dtype))
            network, n = UNet(1, 8, 4, (1, 2)).to(dtype), n_lanes(dtype.itemsize)
            x = torch.zeros(n, 1, 8, 8, dtype=dtype, requires_grad=True)
            network(x, torch.zeros(n, dtype=dtype)).sum().backward()


@pytest.fixture(scope="session", autouse=True)
def _features(tmp_path_factory):
    """Features of reference images are kept in a folder of the tests."""
    folder = tmp_path_factory.mktemp("features")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hqdm.metrics.cache.cache_folder", lambda name: folder)
        yield


@pytest.fixture(scope="session", autouse=True)
def _programs():
    """Circuits are traced and lowered by the code that is tested, not read from the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hqdm.simulators.program.disk_cache.cache_folder", lambda name: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _curves():
    """Runs write an empty file in place of the loss curve, which takes longer than their steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "hqdm.training.callbacks.save_loss_curve", lambda logs, path: write_file(path, b"")
        )
        yield


@pytest.fixture
def data_dir():
    """The folder of real data sets; tests that need it are skipped where there is none."""
    folder = os.environ.get("HQDM_DATA_DIR")
    if not folder or not os.path.isdir(folder):
        pytest.skip("HQDM_DATA_DIR names no folder of data sets")
    return folder


TINY = {
    "seed_everything": 0,
    "data": {"name": "digits", "batch_size": 16, "limit": 48, "val_limit": 16},
    "model": {
        "network": {
            "dim": 8,
            "mults": [1, 2],
            "hybrid": {
                "vertex": {
                    "groups": 1,
                    "channels_per_group": 1,
                    "ansatz": "HQConv",
                    "n_layers": 1,
                }
            },
        },
        "ema": {"decay": 0.5, "every": 2, "start": 2},
    },
    "trainer": {"max_epochs": 2, "accelerator": "cpu", "log_every_n_steps": 1},
    "sample_every": 0,
}
"""A training run of two epochs of three batches that takes half a second."""


def write_tiny(path, **changes):
    """Write `TINY` to a file, with keys such as `data__flip` changed; `...` removes a key."""
    config = deepcopy(TINY)
    for name, value in changes.items():
        *groups, key = name.split("__")
        place = config
        for group in groups:
            place = place.setdefault(group, {})
        if value is ...:
            del place[key]
        else:
            place[key] = value
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture
def tiny(tmp_path):
    """Writes a variant of the tiny configuration and returns its path."""

    def write(**changes):
        return write_tiny(tmp_path / "tiny.yaml", **changes)

    return write


class Outcome(NamedTuple):
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


def without_compiling(err):
    """Standard error without the notice that kernels are compiled, which whoever is first gives."""
    lines = err.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("compiling the "))


@pytest.fixture
def hqdm(capsys):
    """Runs the command line in this process."""

    def run(*args):
        capsys.readouterr()
        code = main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return Outcome(code, out, without_compiling(err))

    return run


@pytest.fixture
def refused(hqdm):
    """Runs a command that must be refused in one line, without a new folder; returns the line."""

    def run(*args):
        out = Path(args[args.index("--out") + 1]) if "--out" in args else None
        new = out is not None and not out.exists() and not out.is_symlink()
        outcome = hqdm(*args)
        assert not (new and out.exists()), f"{out} was created"
        assert outcome.code == 2
        assert outcome.err.startswith("error: ")
        assert outcome.err.count("\n") == 1
        assert "Traceback" not in outcome.err
        return outcome.err.strip()

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The folder of a finished tiny run; tests only read it."""
    folder = tmp_path_factory.mktemp("trained")
    config = write_tiny(folder / "tiny.yaml", sample_every=1)
    assert main(["fit", "--config", str(config), "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture(scope="session")
def trained_classes(tmp_path_factory):
    """The folder of a finished tiny run with class labels; tests only read it."""
    folder = tmp_path_factory.mktemp("trained_classes")
    config = write_tiny(
        folder / "tiny.yaml", data__labelled=True, model__network__n_classes=10, sample_every=1
    )
    assert main(["fit", "--config", str(config), "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture
def repository():
    """The checkout, for tests that run `train.py` or read `configs/`."""
    return Path(__file__).parents[1]


def named(value, name=""):
    """Everything inside nested dictionaries and lists, by name."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from named(inner, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            yield from named(inner, f"{name}.{i}")
    else:
        yield name, value


@pytest.fixture
def same_run():
    """Compares two training checkpoints bit for bit, in all that the rest of a run depends on."""

    def compare(one, other):
        for key in ("state_dict", "optimizer_states", "hqdm", "global_step", "epoch"):
            expected, actual = (dict(named(run.contents[key])) for run in (one, other))
            assert expected.keys() == actual.keys()
            for name, value in expected.items():
                if isinstance(value, torch.Tensor):
                    assert torch.equal(value, actual[name]), name
                else:
                    assert value == actual[name], name

    return compare


@pytest.fixture
def forget():
    """Forgets the plugins of users and what they registered, as a new process would."""
    before = [(registry, dict(registry)) for registry in Registry.all]

    def run():
        for module in plugins._LOADED.values():
            sys.modules.pop(module.__name__, None)
        plugins._LOADED.clear()
        for registry, entries in before:
            registry._entries = dict(entries)

    run()
    yield run
    run()
