import os
import subprocess
import sys
import warnings

import numpy as np
import pennylane as qml
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import (
    AMPLITUDE_CIRCUITS,
    CIRCUITS,
    circuit_of,
    gate_lists,
    sample,
    value_and_gradients,
)

from hqdm import CosineSchedule, Denoiser, Hybrid, UNet
from hqdm.circuits import AngleEmbedding, Basic, Circuit, HQConv, StronglyEntangling
from hqdm.simulators import CompiledSimulator, StatevectorSimulator
from hqdm.simulators.compiled.cpu import plan
from hqdm.simulators.compiled.kernels import STATE
from hqdm.utils.errors import HQDMError


@settings(deadline=None, max_examples=40)
@given(data=st.data(), n_wires=st.integers(1, 5), n_samples=st.sampled_from((1, 7, 17)))
def test_kernels_equal_their_reference_in_torch(data, n_wires, n_samples):
    measure = data.draw(st.sampled_from(["expval_z", "probs", "state"]))
    assert_evolves_like_reference(
        circuit_of(data.draw(gate_lists(n_wires)), n_wires, measure), n_samples, inverse=False
    )


@pytest.mark.parametrize("circuit", AMPLITUDE_CIRCUITS, ids=str)
def test_states_equal_their_reference_in_torch(circuit):
    assert plan(circuit, torch.float64, inverse=True).lowered.measure == STATE
    assert_evolves_like_reference(circuit, 9, inverse=True)


def assert_evolves_like_reference(circuit, n_samples, inverse):
    ready = plan(circuit, torch.float64, inverse)
    generator = torch.Generator().manual_seed(n_samples)
    inputs, weights = (t.detach() for t in sample(circuit, 2, n_samples))
    entries = ready.entries(ready.phases.of_weights(inputs, weights))
    phases = torch.randn(2, len(ready.input_gates), n_samples, generator=generator).double()
    n_amplitudes = 2**circuit.n_wires if ready.lowered.program.embedding else 0
    amplitudes = torch.randn(2, n_amplitudes, n_samples, generator=generator).double()
    tensors = [t.requires_grad_() for t in (entries, phases, amplitudes)]
    ours, theirs = ready.evolve(*tensors), ready.reference(*tensors)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    cotangent = torch.randn(ours.shape, generator=generator).double()
    gradients = [
        torch.autograd.grad((out * cotangent).sum(), tensors, materialize_grads=True)
        for out in (ours, theirs)
    ]
    # Up to 17 samples of 32 amplitudes, of norm up to ten, are summed.
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_number_of_threads_gives_the_same_bits(dtype):
    circuit = Circuit(AngleEmbedding(8), HQConv(8, 2))
    before = torch.get_num_threads()
    runs = []
    try:
        for n_threads in (1, 2, 5):
            torch.set_num_threads(n_threads)
            runs.append(
                value_and_gradients(CompiledSimulator(), circuit, *sample(circuit, 3, 129, dtype))
            )
            assert torch.get_num_threads() == n_threads
    finally:
        torch.set_num_threads(before)
    for run in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(run, runs[0], strict=True))


def test_memory_for_the_gradient_does_not_grow_with_the_states():
    def kept_bytes(n_layers):
        circuit = Circuit(AngleEmbedding(10), StronglyEntangling(10, n_layers))
        inputs, weights = sample(circuit, 1, 64)
        kept = []

        def pack(tensor):
            kept.append(tensor.nbytes)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            CompiledSimulator()(circuit, inputs, weights).sum()
        return sum(kept)

    states = 64 * 2**10 * 16
    assert kept_bytes(2) < states / 4
    assert kept_bytes(20) < states  # matrices of 600 angles; the states would be 40 times as much


def unknown_gate(x, w):
    qml.RX(x[0], wires=0)
    qml.QubitUnitary(np.eye(8)[[1, 2, 3, 4, 5, 6, 7, 0]], wires=(0, 1, 2))
    qml.RX(w[0], wires=1)


def test_an_unknown_gate_runs_in_torch_with_one_warning():
    circuit = Circuit.from_qfunc(unknown_gate, n_wires=3, n_inputs=1, weights_shape=(1,))
    call = sample(circuit)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ours, _ = [value_and_gradients(CompiledSimulator(), circuit, *call) for _ in range(2)]
    messages = [str(w.message) for w in caught if w.category is UserWarning]
    assert len(messages) == 1
    assert "does not support the gate QubitUnitary" in messages[0]
    theirs = value_and_gradients(StatevectorSimulator(), circuit, *call)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_known_gates_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CompiledSimulator()(CIRCUITS[0], *sample(CIRCUITS[0]))


def test_memory_is_refused_before_it_is_allocated():
    circuit = Circuit(AngleEmbedding(30), Basic(30, 1))
    with pytest.raises(
        HQDMError, match=r"states of 30 qubits would take [\d,]+ bytes, more than memory_limit=1,07"
    ):
        CompiledSimulator()(circuit, torch.zeros(1, 1, 30), torch.zeros(1, 1, 30))
    # Less than one thread takes with the fewest lanes.
    with pytest.raises(HQDMError, match="memory_limit=100:"):
        CompiledSimulator(100)(CIRCUITS[0], *sample(CIRCUITS[0]))


def test_other_devices_are_refused():
    inputs, weights = (t.to("meta") for t in sample(CIRCUITS[0]))
    with pytest.raises(HQDMError, match="runs on the CPU, got inputs on meta"):
        CompiledSimulator()(CIRCUITS[0], inputs, weights)


def training_curve(simulator, n_steps=100):
    torch.manual_seed(0)
    hybrid = Hybrid("all", 1, "HQConv", 2, simulator)
    network = UNet(size=8, channels=1, dim=8, mults=(1, 2), hybrid={"vertex": hybrid})
    denoiser = Denoiser(network, CosineSchedule()).double()
    optimizer = torch.optim.Adam(denoiser.parameters(), 1e-3)
    images = torch.rand(4, 1, 8, 8).double() * 2 - 1
    losses = []
    for _ in range(n_steps):
        optimizer.zero_grad()
        loss = denoiser.loss(images)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


@pytest.mark.slow  # two trainings
def test_training_curves_are_those_of_the_torch_path():
    compiled, in_torch = training_curve("compiled"), training_curve("statevector")
    assert compiled[-10:].mean() < 0.8 * compiled[:10].mean()
    # Rounding errors of 1e-16 grow in training; after 100 steps they are far below this.
    torch.testing.assert_close(compiled, in_torch, rtol=1e-8, atol=0)


SCRIPT = """
import torch
from hqdm.circuits import AngleEmbedding, Basic, Circuit
from hqdm.simulators import CompiledSimulator
from hqdm.simulators.compiled import kernels
circuit = Circuit(AngleEmbedding(1), Basic(1, 1))
print(CompiledSimulator()(circuit, torch.zeros(1, 1, 1), torch.zeros(1, 1, 1)).item())
print(torch.get_num_threads())
print(sum(kernels.forward.parallel.stats.cache_misses.values()), "compiled")
"""


@pytest.mark.slow
def test_compiling_is_announced_and_done_once(tmp_path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    runs = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        for _ in range(2)
    ]
    # Numba's start would give torch as many threads as there are cores.
    assert [run.stdout for run in runs] == ["1.0\n1\n1 compiled\n", "1.0\n1\n0 compiled\n"]
    assert runs[0].stderr.count("compiling") == 1
    assert "compiling the forward kernel" in runs[0].stderr
    assert "torch.float32" in runs[0].stderr
    assert "compiling" not in runs[1].stderr


THREADS = """
import threading
import torch
from hqdm import AngleEmbedding, Circuit
from hqdm.circuits import Basic
from hqdm.simulators import CompiledSimulator
circuit = Circuit(AngleEmbedding(1), Basic(1, 1))
torch.set_num_threads(2)
x = torch.linspace(-1, 1, 4096).reshape(1, -1, 1)
wrong = []
def call():
    for _ in range(20):
        wrong.append((CompiledSimulator()(circuit, x, torch.zeros(1, 1, 1)) - x.cos()).abs().max())
threads = [threading.Thread(target=call) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(wrong), float(max(wrong)) < 1e-6)
"""


@pytest.mark.slow
def test_threads_of_python_call_the_kernels_under_any_threading_layer():
    """Two kernels at once end the process under Numba's own layer, `workqueue`."""
    environment = os.environ | {"NUMBA_THREADING_LAYER": "workqueue", "NUMBA_NUM_THREADS": "2"}
    command = [sys.executable, "-c", THREADS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "80 True\n"), done.stderr
