"""Programs on disk: read as they were computed, by the circuits that they belong to only."""

import hashlib
import io
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pennylane as qml
import pytest
import torch
from marks import thinned

from hqdm.circuits import (
    AmplitudeEmbedding,
    AngleEmbedding,
    Circuit,
    FQConv,
    HQConv,
    StronglyEntangling,
    ansatz,
)
from hqdm.circuits.identity import lasting
from hqdm.simulators import CompiledSimulator
from hqdm.simulators.compiled import lowering
from hqdm.simulators.compiled.lowering import lower
from hqdm.simulators.program import disk_cache, sources, tracing
from hqdm.simulators.program.tracing import WORTH_KEEPING, trace

DEEP = Circuit(AmplitudeEmbedding(4), StronglyEntangling(4, 20))
CIRCUITS = [
    DEEP,
    Circuit(AngleEmbedding(12), HQConv(12, 8)),
    Circuit(AngleEmbedding(12), FQConv(12, 10), wires=(3, 0)),
    Circuit(AngleEmbedding(3), StronglyEntangling(3, 30), "probs", n_outcomes=5),
]


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """The folder of the programs."""
    monkeypatch.setattr(disk_cache, "cache_folder", lambda name: tmp_path)
    forget()
    yield tmp_path
    forget()


def forget():
    """Forget what this process has traced and lowered."""
    trace.cache_clear()
    lowering._lowered.cache_clear()


@pytest.fixture
def computed(monkeypatch):
    """The names of the steps that were computed, not read."""
    steps = []
    trace_one, lower_one = tracing._trace, lowering._Lowering.lower
    monkeypatch.setattr(tracing, "_trace", lambda c: (steps.append("trace"), trace_one(c))[1])
    monkeypatch.setattr(
        lowering._Lowering, "lower", lambda self: (steps.append("lower"), lower_one(self))[1]
    )
    return steps


def assert_same_gates(one, other):
    assert (one.n_wires, one.embedding, one.input_gates) == (
        *(other.n_wires, other.embedding, other.input_gates),
    )
    assert len(one.gates) == len(other.gates)
    for a, b in zip(one.gates, other.gates, strict=True):
        assert (a.name, a.wires, a.controls) == (b.name, b.wires, b.controls)
        assert a.frequency == b.frequency
        assert torch.equal(a.matrices, b.matrices)
    n_kinds = len({id(gate.known) for gate in one.gates})
    assert len({id(gate.known) for gate in other.gates}) == n_kinds
    for name, tensor in vars(one.phases).items():
        assert torch.equal(tensor, getattr(other.phases, name))


@pytest.mark.parametrize("circuit", CIRCUITS, ids=str)
def test_what_is_read_is_what_was_computed(folder, computed, circuit):
    inverse = not trace(circuit).input_gates
    first = lower(circuit), lower(circuit, inverse)
    steps = list(computed)
    forget()
    second = lower(circuit), lower(circuit, inverse)
    assert computed == steps  # nothing more
    for a, b in zip(first, second, strict=True):
        assert_same_gates(a.program, b.program)
        for one, other in zip(a.tables, b.tables, strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)
        assert (a.n_outputs, a.measure) == (b.n_outputs, b.measure)
        assert (a.multiplications, a.largest_part) == (b.multiplications, b.largest_part)
        assert [[f.gate for f in row] for row in a.factors] == [
            [f.gate for f in row] for row in b.factors
        ]
        for row, other_row in zip(a.factors, b.factors, strict=True):
            for f, g in zip(row, other_row, strict=True):
                assert torch.equal(f.matrices, g.matrices)


def test_small_programs_are_not_kept(folder):
    circuit = Circuit(AngleEmbedding(4), HQConv(4, 2))
    assert len(trace(circuit).gates) < WORTH_KEEPING
    lower(circuit)
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_other_circuits_do_not_share_a_program(folder, computed):
    kinds = [
        *(DEEP, replace(DEEP, embedding=AngleEmbedding(4))),
        replace(DEEP, ansatz=StronglyEntangling(4, 21)),
        *(replace(DEEP, measure="probs", n_outcomes=4), replace(DEEP, wires=(3, 2, 1, 0))),
    ]
    for circuit in kinds:
        lower(circuit)
    lower(DEEP, inverse=True)
    assert computed.count("trace") == len(kinds)
    assert computed.count("lower") == len(kinds) + 1


def deep_function(gate):
    def gates(x, weights):
        for i in range(WORTH_KEEPING):
            gate(x[0] * weights[0] + weights[1] if i == 7 else weights[0], wires=i % 2)

    return Circuit.from_qfunc(gates, n_wires=2, n_inputs=1, weights_shape=(2,))


def affine_function(gate):
    def gates(x, weights):
        gate(x[0], wires=0)
        for i in range(WORTH_KEEPING):
            qml.RX(weights[i % 2], wires=i % 2)

    return Circuit.from_qfunc(gates, n_wires=2, n_inputs=1, weights_shape=(2,))


@pytest.mark.parametrize("function", [deep_function, affine_function])
def test_functions_are_traced_and_their_equal_gates_lowered_once(folder, computed, function):
    """Two functions of one name, as of a file before and after an edit."""
    lower(function(qml.RY))
    lower(function(qml.RY))
    assert computed == ["trace", "lower", "trace"]
    lower(function(qml.RZ))
    assert computed == ["trace", "lower", "trace", "trace", "lower"]


@dataclass(frozen=True)
class OwnAnsatz(StronglyEntangling):
    pass


@pytest.mark.parametrize(
    "circuit",
    [
        affine_function(qml.RX),
        Circuit(AngleEmbedding(2), OwnAnsatz(2)),
        Circuit(AngleEmbedding(2), StronglyEntangling(2), wires=(np.int64(0),)),
    ],
)
def test_what_has_no_meaning_in_another_process_has_no_lasting_key(circuit):
    assert lasting(circuit.identity) is None


def test_a_lasting_key_has_every_field():
    keys = [lasting(circuit.identity) for circuit in CIRCUITS]
    order = (HQConv(4, 2, interleaved=False), HQConv(4, 2), HQConv(4, 1))
    keys += [lasting(Circuit(AngleEmbedding(4), one).identity) for one in order]
    assert None not in keys
    assert len(set(keys)) == len(keys)
    assert not any(" at 0x" in key for key in keys)


def sealed(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue() + hashlib.sha256(buffer.getvalue()).digest()


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


FOREIGN = {
    "empty": lambda content: b"",
    "cut": lambda content: content[:-100],
    "flipped": lambda content: flipped(content, 500),
    # Not covered by the checksums of zip: the bit of encrypted members.
    "flag": lambda content: flipped(content, content.index(b"PK\1\2") + 8),
    "text": lambda content: b"no program" * 100,
    "other arrays": lambda content: sealed(a=np.ones(3)),
    "objects": lambda content: sealed(kinds=np.array([{}], dtype=object)),
    "other sizes": lambda content: sealed(
        **dict(np.load(io.BytesIO(content[:-32]))) | {"matrices": np.ones(5, complex)}
    ),
}


@pytest.mark.parametrize("name", thinned(FOREIGN, every=2))
def test_damaged_and_foreign_files_are_computed_anew(folder, computed, name):
    lower(DEEP)
    kept = {file: file.read_bytes() for file in folder.iterdir()}
    assert len(kept) == 2
    for file, content in kept.items():
        file.write_bytes(FOREIGN[name](content))
    forget()
    lower(DEEP)
    assert computed == ["trace", "lower"] * 2
    assert {file: file.read_bytes() for file in folder.iterdir()} == kept


def test_results_without_a_folder(folder, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    x, w = torch.rand(1, 2, 16).double(), torch.rand(1, 20, 4, 3).double()
    results = []
    for found in (folder, None, tmp_path / "file" / "none"):
        monkeypatch.setattr(disk_cache, "cache_folder", lambda name, found=found: found)
        forget()
        results.append(CompiledSimulator()(DEEP, x, w))
    assert all(torch.equal(result, results[0]) for result in results)


def test_files_are_few_and_small(folder, monkeypatch):
    monkeypatch.setattr(disk_cache, "MAX_FILES", 3)
    for n_layers in (20, 21, 22):
        trace(replace(DEEP, ansatz=StronglyEntangling(4, n_layers)))
    first = min(folder.iterdir(), key=lambda file: file.stat().st_mtime)
    os.utime(first, (0, 0))
    trace(replace(DEEP, ansatz=StronglyEntangling(4, 23)))
    assert len(list(folder.iterdir())) == 3
    assert not first.exists()
    monkeypatch.setattr(disk_cache, "MAX_BYTES", 1000)
    before = set(folder.iterdir())
    trace(replace(DEEP, ansatz=StronglyEntangling(4, 24)))
    assert set(folder.iterdir()) == before


def test_the_stamp_follows_sources_and_versions(monkeypatch, tmp_path):
    def changed(module):
        edited = tmp_path / f"{module.__name__}.py"
        edited.write_text(Path(module.__file__).read_text() + "\n# another line\n")
        with monkeypatch.context() as patch:
            source = sources._source
            files = {module.__name__: edited}
            patch.setattr(sources, "_source", lambda name: files.get(name) or source(name))
            return disk_cache.stamp(tracing.__name__)

    stamps = [disk_cache.stamp(tracing.__name__), changed(tracing), changed(ansatz)]
    assert stamps[0] == tracing.STAMP
    for library in (qml, np, torch):
        with monkeypatch.context() as patch:
            patch.setattr(library, "__version__", "0.0")
            stamps.append(disk_cache.stamp(tracing.__name__))
    assert len(set(stamps)) == len(stamps)
    assert changed(lowering) == stamps[0]


@pytest.mark.parametrize("module", [tracing, lowering])
def test_the_stamp_is_part_of_the_key(folder, computed, monkeypatch, module):
    lower(DEEP)
    forget()
    monkeypatch.setattr(module, "STAMP", "another one")
    lower(DEEP)
    assert computed == ["trace", "lower", {tracing: "trace", lowering: "lower"}[module]]


SCRIPT = """
import torch
from hqdm.circuits import AmplitudeEmbedding, Circuit, StronglyEntangling
from hqdm.simulators.compiled import lowering
from hqdm.simulators.program import tracing
steps = []
trace_one, lower_one = tracing._trace, lowering._Lowering.lower
tracing._trace = lambda c: (steps.append("trace"), trace_one(c))[1]
lowering._Lowering.lower = lambda self: (steps.append("lower"), lower_one(self))[1]
lowering.lower(Circuit(AmplitudeEmbedding(4), StronglyEntangling(4, 20)))
print(*steps)
"""


@pytest.mark.slow
def test_another_process_reads_them(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}

    def run(seed):
        return subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**environment, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    assert run("1") == "trace lower"
    assert run("2") == ""


def test_the_key_of_arrays_has_their_dtype():
    same = np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.float64)
    assert len({disk_cache.arrays_key("", {"a": array}) for array in same}) == 2
