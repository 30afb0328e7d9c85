"""Kernels in processes that are started after kernels ran: the numbers of the parent."""

import os
import subprocess
import sys

import pytest
from marks import slow

FAST = ("start fork",)
SLOW = (
    *("start spawn", "start forkserver", "nested fork", "joblib loky", "joblib multiprocessing"),
    *("loader fork", "loader forkserver", "loader spawn"),
)

PROGRAM = """
import multiprocessing, sys
import torch
from hqdm import AngleEmbedding, Circuit, QuantumLayer
from hqdm.circuits.ansatz import HQConv

def value(_=0):
    torch.manual_seed(0)
    layer = QuantumLayer(Circuit(AngleEmbedding(8), HQConv(8, 1)))
    x = torch.linspace(0, 1, 5000 * 8).view(5000, 1, 8)  # enough for threads in torch
    y = layer(x)
    y.square().sum().backward()
    return [y.sum().item(), *(p.grad.sum().item() for p in layer.parameters())]

class Values(torch.utils.data.Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, i):
        return torch.tensor(value(), dtype=torch.float64)

def nested(_):
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.map(value, [0])[0]

def values(how, method):
    if how == "joblib":
        from joblib import Parallel, delayed
        return Parallel(2, backend=method)(delayed(value)() for _ in range(2))
    if how == "loader":
        loader = torch.utils.data.DataLoader(
            Values(), num_workers=2, batch_size=None, multiprocessing_context=method
        )
        return [x.tolist() for x in loader]
    context = multiprocessing.get_context(method)
    if how == "nested":
        from concurrent.futures import ProcessPoolExecutor
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return list(pool.map(nested, [0]))
    with context.Pool(2) as pool:
        return pool.map(value, range(2))

if __name__ == "__main__":
    torch.set_num_threads(2)
    expected = value()
    for found in values(*sys.argv[1].split()):
        for a, b in zip(found, expected, strict=True):
            assert abs(a - b) < 1e-5 * abs(b), (found, expected)
    assert torch.get_num_threads() == 2
    print("equal")
"""


@pytest.mark.slow
@pytest.mark.parametrize("start", [*FAST, *(slow(start) for start in SLOW)])
def test_processes_started_after_the_kernels_ran(tmp_path, start):
    """Sums of float32 in torch depend on the number of threads: 1e-5 of the value."""
    (tmp_path / "program.py").write_text(PROGRAM)
    process = subprocess.run(
        [sys.executable, str(tmp_path / "program.py"), start],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        timeout=200,
        check=False,
    )
    assert process.stdout == "equal\n", process.stderr
