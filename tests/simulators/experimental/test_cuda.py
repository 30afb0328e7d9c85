import importlib.util
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pennylane as qml
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import (
    CIRCUITS,
    assert_close,
    circuit_of,
    gate_lists,
    sample,
    value_and_gradients,
)

from hqdm.circuits import AngleEmbedding, Basic, Circuit, FQConv, HQConv, StronglyEntangling
from hqdm.nn import Hybrid
from hqdm.simulators import StatevectorSimulator, resolve_simulator
from hqdm.simulators.compiled.lowering import lower
from hqdm.simulators.experimental import cuda
from hqdm.simulators.experimental.cuda import (
    SHARED_BYTES,
    CudaSimulator,
    Layout,
    fits,
    load_kernels,
    members,
)
from hqdm.utils.errors import HQDMError

SCRIPT = Path(__file__).parents[2] / "cuda_simulation.py"
SLOW = pytest.mark.slow  # the simulation of the device compiles its kernels for half a minute
SIMULATED = [
    "one thread",
    "an empty slot",
    "a chunk for each sample",
    "several parts",
    "all kinds of gates",
    "many outputs",
    "no gate before the first pair",
    "probabilities",
    "amplitudes",
    "float32",
    "states",
]


def has_gpu():
    if not torch.cuda.is_available():
        return False
    try:
        load_kernels()
    except HQDMError:
        return False
    return True


on_gpu = pytest.mark.skipif(not has_gpu(), reason="no CUDA device, or no numba-cuda for it")


@pytest.fixture(scope="module")
def simulation(tmp_path_factory):
    """The results of the kernels in Numba's CUDA simulator."""
    if importlib.util.find_spec("numba.cuda") is None:
        pytest.skip("Numba has no CUDA target here: install numba-cuda")
    file = tmp_path_factory.mktemp("cuda") / "results.pt"
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, SCRIPT, file], env=environment, check=True, timeout=300)
    return torch.load(file, weights_only=False)


@SLOW
@pytest.mark.parametrize("case", SIMULATED)
def test_the_simulated_kernels_agree_with_the_compiled_ones(simulation, case):
    results = simulation["results"][case]
    # Rounding of states and gradients through at most 20 instructions.
    atol = 1e-6 if case == "float32" else 1e-13
    assert_close(results["ours"], results["theirs"], atol)
    for ours, again in zip(results["ours"], results["again"], strict=True):
        assert torch.equal(ours, again)


@SLOW
def test_every_simulated_case_is_compared(simulation):
    assert set(simulation["results"]) == set(SIMULATED)


@SLOW
def test_threads_do_not_access_what_another_writes_before_the_next_barrier(simulation):
    assert not simulation["conflicts"]


def test_threads_are_lanes_of_slots():
    # FQConv makes parts of two wires here: two pairs of amplitudes, one per lane.
    layout = Layout(lower(Circuit(AngleEmbedding(8), FQConv(8, 1))), n_threads=128)
    assert layout.n_lanes.tolist() == [2, 2, 2, 2]
    assert layout.max_slots == 64
    # 64 slots of 4 amplitudes and of 2 wires with 2 amplitudes; 4 entries of a matrix per thread.
    assert layout.sizes == (256, 256, 512)
    # Eight bytes each; psi and lambda in the backward pass.
    assert layout.shared_bytes(4, backward=False) == 8 * (256 + 256 + 512)
    assert layout.shared_bytes(4, backward=True) == 8 * (2 * (256 + 256) + 512)
    # Ten wires keep all threads in one slot.
    layout = Layout(lower(Circuit(AngleEmbedding(10), Basic(10, 1))), n_threads=128)
    assert (layout.n_lanes.tolist(), layout.max_slots) == ([128], 1)
    assert layout.sizes == (1024, 20, 512)


def test_states_that_do_not_fit_into_shared_memory_are_known_before_they_are_made():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fits(Circuit(AngleEmbedding(11), Basic(11, 1)), torch.float32)
        assert fits(Circuit(AngleEmbedding(10), Basic(10, 1)), torch.float64)
        assert fits(Circuit(AngleEmbedding(40), FQConv(40, 1)), torch.float64)  # parts of 10
    # Two states of 2^12 amplitudes of 8 bytes, 2^11 of 16, and 2^40 of 8.
    for n_wires, dtype in ((12, torch.float32), (11, torch.float64), (40, torch.float32)):
        n_bytes = 4 * dtype.itemsize * 2**n_wires
        with pytest.warns(UserWarning, match=f"{n_bytes:,} of {SHARED_BYTES:,} bytes"):
            assert not fits(Circuit(AngleEmbedding(n_wires), Basic(n_wires, 1)), dtype)


def test_the_amplitudes_of_each_outcome():
    circuit = Circuit(AngleEmbedding(3), Basic(3, 1), "probs", (2, 1), n_outcomes=3)
    # Outcome 00 of wires 2 and 1 is that of the basis states 000 and 100, 01 of 010 and 110.
    assert members(lower(circuit)).tolist() == [[0, 4], [2, 6], [1, 5]]


def test_the_simulator_is_found_by_name_and_pickles():
    assert resolve_simulator("cuda") == CudaSimulator()
    simulator = CudaSimulator(memory_limit=123)
    assert pickle.loads(pickle.dumps(simulator)) == simulator


def test_choosing_it_warns_once_that_it_is_experimental():
    cuda._warn_once.cache_clear()
    with pytest.warns(UserWarning, match="experimental: its kernels have never run on a GPU"):
        Hybrid(simulator="cuda")  # as a configuration does
    with warnings.catch_warnings(action="error"):
        resolve_simulator("cuda")


def test_inputs_on_other_devices_are_refused():
    circuit = Circuit(AngleEmbedding(2), Basic(2, 1))
    with pytest.raises(HQDMError, match="runs on an NVIDIA GPU, got inputs on cpu"):
        CudaSimulator()(circuit, *sample(circuit))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_the_requirements_are_named():
    with pytest.raises(HQDMError, match=r"needs an NVIDIA GPU.*install 'hqdm\[cuda\]'"):
        load_kernels()


# From here on with a GPU.

with warnings.catch_warnings(action="ignore"):
    SIMULATOR = CudaSimulator()


@on_gpu
@settings(deadline=None, max_examples=100)
@given(data=st.data(), n_wires=st.integers(1, 8))
def test_random_programs_agree_with_the_state_vector(data, n_wires):
    gates = data.draw(gate_lists(n_wires))
    measure = data.draw(st.sampled_from(["expval_z", "probs"]))
    order = data.draw(st.permutations(range(n_wires)))
    circuit = circuit_of(gates, n_wires, measure, order[: data.draw(st.integers(1, n_wires))])
    dtype, atol = data.draw(st.sampled_from([(torch.float32, 1e-5), (torch.float64, 1e-12)]))
    n_circuits, n_samples = data.draw(st.integers(1, 3)), data.draw(st.sampled_from([1, 7, 129]))
    ours = value_and_gradients(
        SIMULATOR, circuit, *sample(circuit, n_circuits, n_samples, dtype, "cuda")
    )
    theirs = value_and_gradients(
        StatevectorSimulator(), circuit, *sample(circuit, n_circuits, n_samples, dtype)
    )
    assert_close([tensor.cpu() for tensor in ours], theirs, atol)


LARGE = [
    Circuit(AngleEmbedding(11), Basic(11, 2)),
    Circuit(AngleEmbedding(12), FQConv(12, 3)),
    Circuit(AngleEmbedding(7), StronglyEntangling(7, 10), "probs"),
    Circuit(AngleEmbedding(12), HQConv(12, 1)),  # too large: by the state vector
]


@on_gpu
@pytest.mark.parametrize("circuit", [*CIRCUITS, *LARGE], ids=str)
@pytest.mark.filterwarnings("ignore:the states of 12 qubits")
def test_circuits_agree_with_the_state_vector(circuit):
    for dtype, atol in ((torch.float32, 1e-5), (torch.float64, 1e-11)):
        ours = value_and_gradients(SIMULATOR, circuit, *sample(circuit, 2, 129, dtype, "cuda"))
        assert {(t.dtype, t.is_cuda) for t in ours} == {(dtype, True)}
        theirs = value_and_gradients(
            StatevectorSimulator(), circuit, *sample(circuit, 2, 129, dtype)
        )
        assert_close([tensor.cpu() for tensor in ours], theirs, atol)


@on_gpu
@pytest.mark.parametrize("circuit", CIRCUITS[:2] + CIRCUITS[-2:], ids=str)
def test_gradcheck_and_second_derivatives(circuit):
    inputs, weights = sample(circuit, 2, 2, device="cuda")

    def f(x, w):
        return SIMULATOR(circuit, x, w)

    assert torch.autograd.gradcheck(f, (inputs, weights), fast_mode=True)
    assert torch.autograd.gradgradcheck(f, (inputs, weights), fast_mode=True)


@on_gpu
def test_results_repeat_bit_by_bit():
    circuit = LARGE[1]
    call = circuit, *sample(circuit, 13, 1000, torch.float32, "cuda")
    first = value_and_gradients(SIMULATOR, *call)
    for _ in range(3):
        for a, b in zip(first, value_and_gradients(SIMULATOR, *call), strict=True):
            assert torch.equal(a, b)


@on_gpu
def test_kernels_run_on_the_stream_of_torch():
    circuit = CIRCUITS[0]
    inputs, weights = sample(circuit, 2, 500, device="cuda")
    expected = SIMULATOR(circuit, inputs + 1, weights)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(100_000_000)  # cycles: a kernel elsewhere would read inputs too early
        out = SIMULATOR(circuit, inputs + 1, weights)
    stream.synchronize()
    assert torch.equal(out, expected)


@on_gpu
def test_first_use_in_inference_mode_does_not_prevent_training():
    circuit = Circuit(AngleEmbedding(4), Basic(4, 3), wires=(2, 0))  # used in no other test
    call = sample(circuit, device="cuda")
    with torch.inference_mode():
        SIMULATOR(circuit, *call)
    value_and_gradients(SIMULATOR, circuit, *call)


@on_gpu
def test_an_empty_batch_has_no_outputs():
    inputs, weights = sample(CIRCUITS[0], n_samples=0, device="cuda")
    assert SIMULATOR(CIRCUITS[0], inputs, weights).shape == (2, 0, 8)


def unknown_gate(x, w):
    qml.RX(x[0], wires=0)
    qml.QubitUnitary(np.eye(8)[[1, 2, 3, 4, 5, 6, 7, 0]], wires=(0, 1, 2))
    qml.RX(w[0], wires=1)


@on_gpu
@pytest.mark.filterwarnings("ignore:the compiled simulator does not know")
def test_unknown_gates_run_on_the_state_vector():
    circuit = Circuit.from_qfunc(unknown_gate, n_wires=3, n_inputs=1, weights_shape=(1,))
    ours = value_and_gradients(SIMULATOR, circuit, *sample(circuit, device="cuda"))
    theirs = value_and_gradients(StatevectorSimulator(), circuit, *sample(circuit))
    assert_close([tensor.cpu() for tensor in ours], theirs, 1e-12)
