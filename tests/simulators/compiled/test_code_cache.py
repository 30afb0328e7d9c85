"""Compiled code is kept for what it was compiled from only, where a folder can be written."""

import errno
import multiprocessing
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from numba import prange

import hqdm
from hqdm.simulators.compiled import code_cache, kernels, lanes, lowering
from hqdm.simulators.program import sources as sources_of

KERNELS = kernels.__name__


def test_the_digest_follows_every_file_that_the_kernels_are_compiled_from(monkeypatch, tmp_path):
    def changed(module):
        """The digest with a line more in the source of a module."""
        edited = tmp_path / f"{module.__name__}.py"
        edited.write_text(Path(module.__file__).read_text() + "\n# another line\n")
        sources = {module.__name__: edited}
        with monkeypatch.context() as patch:
            source = sources_of._source
            patch.setattr(sources_of, "_source", lambda name: sources.get(name) or source(name))
            return code_cache.digest(KERNELS)

    before = code_cache.digest(KERNELS)
    assert len({before, changed(kernels), changed(lanes)}) == 3
    assert changed(lowering) == before
    assert code_cache.digest(KERNELS) == before
    assert before in kernels.forward.parallel._cache.cache_path


@pytest.mark.parametrize("part", ["get_host_cpu_name", "get_host_cpu_features"])
def test_the_digest_follows_the_processor(monkeypatch, part):
    class Other(str):
        def flatten(self):
            return "other"

    before = code_cache.digest(KERNELS)
    monkeypatch.setattr(code_cache.llvm, part, lambda: Other("other"))
    assert code_cache.digest(KERNELS) != before


SCRIPT = """
import torch
from hqdm import AngleEmbedding, Circuit
from hqdm.circuits import Basic
from hqdm.simulators import CompiledSimulator
from hqdm.simulators.compiled import kernels
x = torch.full((1, 1, 1), 0.3).double()
w = torch.full((1, 1, 1), 0.2).double()
w.requires_grad_()
y = CompiledSimulator()(Circuit(AngleEmbedding(1), Basic(1, 1)), x, w)
y.sum().backward()
misses = kernels.backward.parallel.stats.cache_misses
print(f"{y.item():.6f} {w.grad.item():.6f}", sum(misses.values()))
"""


def run(package, **environment):
    environment = {**os.environ, "PYTHONPATH": str(package), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=environment,
        cwd=package,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


@pytest.fixture
def package(tmp_path):
    """A copy of the package."""
    without = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(hqdm.__file__).parent, tmp_path / "hqdm", ignore=without)
    return tmp_path


@pytest.mark.slow
def test_changed_lanes_are_compiled_again(package):
    """<Z> is cos(x + w), its derivative -sin(x + w); without the conjugate of lanes it is not."""
    assert run(package) == "0.877583 -0.479426 1"
    assert run(package) == "0.877583 -0.479426 0"
    file = package / "hqdm" / "simulators" / "compiled" / "lanes.py"
    text = file.read_text()
    wrong = text.replace("(real, builder.fneg(imag))", "(real, imag)")
    assert wrong != text
    file.write_text(wrong)
    value, gradient, n_compiled = run(package).split()
    assert (value, n_compiled) == ("0.877583", "1")
    assert gradient != "-0.479426"
    file.write_text(text)
    assert run(package) == "0.877583 -0.479426 0"


@pytest.mark.slow
def test_kernels_run_where_neither_package_nor_home_can_be_written(package):
    (package / "hqdm" / "__pycache__").touch()  # a file, where a folder would be made
    (package / "temporary").mkdir()
    nowhere = {"HOME": "/proc/none", "XDG_CACHE_HOME": "", "NUMBA_CACHE_DIR": "/dev/null/code"}
    temporary = {"TMPDIR": str(package / "temporary")}
    assert run(package, **nowhere, **temporary).split()[0] == "0.877583"
    assert list((package / "temporary").glob("hqdm-*/kernels-*/*/*.nbc"))


def scaled(x, n):
    for i in prange(n):
        x[i] *= 2


def test_without_a_folder_the_code_is_not_kept(monkeypatch):
    monkeypatch.setattr(code_cache, "cache_folder", lambda name: None)
    kernel, x = code_cache.Kernel(scaled), np.ones(2)
    kernel(x, 2)
    assert x.tolist() == [2, 2]
    assert sum(kernel.parallel.stats.cache_hits.values()) == 0
    assert kernel.parallel.stats.cache_path is None


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_damaged_code_is_compiled_again(monkeypatch, tmp_path, suffix):
    monkeypatch.setattr(code_cache, "cache_folder", lambda name: tmp_path)
    for _ in range(2):  # the second one finds damaged files
        kernel, x = code_cache.Kernel(scaled), np.ones(2)
        kernel(x, 2)
        assert x.tolist() == [2, 2]
        assert sum(kernel.parallel.stats.cache_misses.values()) > 0
        files = list(tmp_path.rglob(f"*.{suffix}"))
        assert files
        for file in files:
            file.write_bytes(file.read_bytes()[:20])


def test_an_error_of_a_kernel_is_not_one_of_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(code_cache, "cache_folder", lambda name: tmp_path)
    kernel = code_cache.Kernel(scaled)
    with pytest.raises(TypeError):
        kernel(np.ones(2))


POINTER = """
import ctypes
from pathlib import Path
from numba import types
from hqdm.nn.compiled import contraction
from hqdm.simulators.compiled.code_cache import FunctionPointer
import torch
address = contraction.contraction_of(torch.float64)
compiled = contraction._pointer.compiled[0]
print(address == compiled.address, compiled.cache_hits, Path(compiled._cache.cache_path))
"""


@pytest.mark.slow  # four processes, two of which compile
def test_functions_that_are_called_by_address_are_kept(tmp_path):
    """Compiled once, then loaded; damaged files are compiled again."""

    def run():
        environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
        command = [sys.executable, "-c", POINTER]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        same, hits, folder = done.stdout.split()
        assert same == "True"
        return int(hits), Path(folder), "compiling the contraction of the U-Net" in done.stderr

    assert run()[::2] == (0, True)
    hits, folder, message = run()
    assert (hits, message) == (1, False)
    for file in folder.glob("*contraction*.nbc"):
        file.write_bytes(file.read_bytes()[:100])
    assert run()[::2] == (0, True)
    assert run()[::2] == (1, False)


def call(kernel, start, dtype, found):
    """Call a kernel as soon as another process does; put what it had to compile."""
    x = np.ones(2, dtype)
    start.wait(60)
    kernel(x, 2)
    statistics = [getattr(kernel, kind).stats for kind in ("parallel", "serial")]
    misses = sum(sum(each.cache_misses.values()) for each in statistics)
    found.put((x.tolist(), misses))


@pytest.mark.parametrize(("other", "compiled"), [("float32", 1), ("float64", 2)])
def test_processes_compile_in_turn(monkeypatch, tmp_path, other, compiled):
    """For the same types only the first one compiles; for others, each has a file of its own."""
    monkeypatch.setattr(code_cache, "cache_folder", lambda name: tmp_path)
    fork = multiprocessing.get_context("fork")
    found, kernel = fork.Queue(), code_cache.Kernel(scaled)
    start = fork.Barrier(2)
    processes = [
        fork.Process(target=call, args=(kernel, start, dtype, found))
        for dtype in ("float32", other)
    ]
    for process in processes:
        process.start()
    results = [found.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    assert [x for x, _ in results] == [[2, 2]] * 2
    assert sum(misses for _, misses in results) == compiled
    assert len(list(tmp_path.rglob("*.nbc"))) == compiled


def test_a_stopped_process_is_not_waited_for(monkeypatch, tmp_path, caplog):
    """Its lock is held for ever; the code is compiled all the same, with a message meanwhile."""
    monkeypatch.setattr(code_cache, "cache_folder", lambda name: tmp_path)
    monkeypatch.setattr(code_cache, "PATIENCE", 0.1)
    monkeypatch.setattr(code_cache, "_short_digest", lambda text: "digest")
    x = np.ones(2)
    with FileLock(tmp_path / "scaled-digest.lock"):
        code_cache.Kernel(scaled)(x, 2)
    assert x.tolist() == [2, 2]
    assert caplog.messages == ["waiting for another process that compiles the same kernel"]


def test_file_systems_without_locks_are_used_without_a_warning(monkeypatch, tmp_path, caplog):
    """`flock` is not implemented there, so that filelock warns and creates a file instead."""

    def flock(fd, operation):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", flock)
    monkeypatch.setattr(code_cache, "cache_folder", lambda name: tmp_path)
    x = np.ones(2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        code_cache.Kernel(scaled)(x, 2)
    assert x.tolist() == [2, 2]
    assert not caplog.messages
