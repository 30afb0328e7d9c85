"""Sizes that do not fit into memory."""

import subprocess
import sys

import pytest
import torch
from simulated_gpu import GPU, SimulatedGPU

from hqdm.utils import memory
from hqdm.utils.errors import HQDMError
from hqdm.utils.memory import (
    Arriving,
    available_bytes,
    check_memory,
    check_processes,
    in_units,
    to_device,
)


def test_available_memory_is_the_least_of_system_and_container(tmp_path, monkeypatch):
    assert 2**26 < available_bytes() < 2**50
    info, limit = tmp_path / "meminfo", tmp_path / "memory.max"
    monkeypatch.setattr(memory, "_MEMINFO", info)
    monkeypatch.setattr(memory, "_CGROUP_LIMITS", (limit,))
    info.write_text("MemTotal: 9 kB\nMemAvailable:       2048 kB\n")
    assert available_bytes() == 2**21
    limit.write_text("max\n")
    assert available_bytes() == 2**21
    limit.write_text("1000\n")
    assert available_bytes() == 1000


def test_the_limit_of_the_process_counts():
    code = (
        "import resource; from hqdm.utils.memory import available_bytes\n"
        "before = available_bytes()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))\n"
        "assert 2**28 < available_bytes() < 2**31, available_bytes()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_only_what_does_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 2048)
    check_memory("a table", 2048, "use fewer rows")
    with pytest.raises(
        HQDMError, match=r"^a table would take 2\.5 KiB of memory, 2 KiB are available: use fewer"
    ):
        check_memory("a table", 2560, "use fewer rows")


def test_processes_are_counted_before_they_are_started(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 2**30)
    check_processes(3)
    with pytest.raises(HQDMError, match=r"4 processes would take .* of memory, .*: use fewer"):
        check_processes(4)


@pytest.mark.parametrize(
    ("n", "text"), [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1 KiB"), (3 * 2**40, "3 TiB")]
)
def test_units(n, text):
    assert in_units(n) == text


def test_copies_to_and_from_a_gpu_do_not_wait_for_it():
    x = torch.arange(4.0)
    with SimulatedGPU() as gpu:
        there = to_device(x, GPU, torch.float64)
        back = Arriving(there).get()
        assert gpu.waits == []
        x.to(GPU)
        there.cpu()
        assert len(gpu.waits) == 2  # as plain copies do
    assert there.held.dtype == back.dtype == torch.float64
    assert there.held.tolist() == back.tolist() == x.tolist()


def test_copies_on_the_cpu_are_the_tensor_itself():
    x = torch.arange(4.0)
    assert to_device(x, torch.device("cpu")) is x
    assert torch.equal(Arriving(x).get(), x)
