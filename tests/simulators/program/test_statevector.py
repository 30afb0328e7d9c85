import pickle

import pytest
import torch
from programs import CIRCUITS, sample, value_and_gradients
from simulated_gpu import GPU, SimulatedGPU, on_gpu

from hqdm.circuits import AngleEmbedding, Basic, Circuit, FQConv, HQConv
from hqdm.simulators import StatevectorSimulator
from hqdm.simulators.program import statevector
from hqdm.simulators.program.statevector import BlockPlan, plan
from hqdm.utils.errors import HQDMError


@pytest.mark.parametrize("circuit", [CIRCUITS[0], CIRCUITS[5]], ids=str)
def test_chunks_change_nothing(circuit, monkeypatch):
    whole = value_and_gradients(StatevectorSimulator(), circuit, *sample(circuit, 2, 7))
    ready = plan(circuit, torch.device("cpu"), torch.float64)
    state_bytes = 2 * sum(2 ** len(part.order) for part in ready.parts) * 16
    sizes = []
    run = type(ready).run

    def counting(self, inputs, *shared):
        sizes.append(inputs.shape[1])
        return run(self, inputs, *shared)

    monkeypatch.setattr(type(ready), "run", counting)
    # Room for the states of three samples: chunks of 3, 3, 1, run again in the backward pass.
    depth = max(len(part.blocks) for part in ready.parts) + 2
    limited = StatevectorSimulator(memory_limit=3 * state_bytes * depth)
    chunked = value_and_gradients(limited, circuit, *sample(circuit, 2, 7))
    assert sizes[:3] == [3, 3, 1]
    assert sorted(sizes[3:]) == [1, 3, 3]
    torch.testing.assert_close(chunked, whole, rtol=0, atol=1e-12)
    # A smaller cache makes chunks too, but they are run once.
    sizes.clear()
    monkeypatch.setattr("hqdm.simulators.program.statevector.CPU_STATE_BYTES", 2 * state_bytes)
    cached = value_and_gradients(StatevectorSimulator(), circuit, *sample(circuit, 2, 7))
    assert sizes == [2, 2, 2, 1]
    torch.testing.assert_close(cached, whole, rtol=0, atol=1e-12)


def test_gates_are_fused_into_few_blocks():
    circuit = Circuit(AngleEmbedding(12), HQConv(12, 3))
    (part,) = plan(circuit, torch.device("cpu"), torch.float32).parts
    assert len(part.blocks) <= 12  # three rings and the links, times three layers, of 84 gates
    assert sum(len(block.gates) for block in part.blocks) == 84
    assert all(len(block.targets) <= 4 for block in part.blocks)


def test_parts_that_no_gate_connects_are_simulated_separately():
    circuit = Circuit(AngleEmbedding(12), FQConv(12, 3))
    parts = plan(circuit, torch.device("cpu"), torch.float32).parts
    assert [set(part.order) for part in parts] == [{k, k + 4, k + 8} for k in range(4)]
    assert [len(part.blocks) for part in parts] == [1, 1, 1, 1]
    # Thus 40 qubits cost ten times as much as four.
    wide = Circuit(AngleEmbedding(40), FQConv(40, 1), "probs", (39, 0, 35, 3))
    out = StatevectorSimulator()(wide, torch.randn(1, 2, 40), torch.randn(1, 1, 80))
    torch.testing.assert_close(out.sum(-1), torch.ones(1, 2))


def test_too_many_qubits_are_refused_before_anything_is_allocated():
    circuit = Circuit(AngleEmbedding(30), Basic(30, 1))
    # 2^30 amplitudes of eight bytes.
    with pytest.raises(HQDMError, match="2 x 30 qubits would take 17,179,869,184 bytes"):
        StatevectorSimulator()(circuit, torch.zeros(2, 1, 30), torch.zeros(2, 1, 30))
    # The parts are small here, but not the probabilities of all outcomes together.
    circuit = Circuit(AngleEmbedding(40), FQConv(40), "probs")
    with pytest.raises(HQDMError, match="1 x 40 qubits would take 8,796,093,022,208 bytes"):
        StatevectorSimulator()(circuit, torch.zeros(1, 1, 40), torch.zeros(1, 1, 80))


def test_the_simulator_pickles():
    simulator = StatevectorSimulator(memory_limit=123)
    assert pickle.loads(pickle.dumps(simulator)) == simulator


@pytest.mark.parametrize("circuit", CIRCUITS, ids=str)
def test_a_gpu_is_not_waited_for(circuit, monkeypatch):
    inputs, weights = sample(circuit)
    with SimulatedGPU():
        ready = BlockPlan(circuit, GPU, inputs.dtype)
    monkeypatch.setattr(statevector, "plan", lambda *_: ready)
    with SimulatedGPU() as gpu:
        call = (on_gpu(x).requires_grad_() for x in (inputs, weights))
        ours = value_and_gradients(StatevectorSimulator(), circuit, *call)
    assert gpu.waits == []
    monkeypatch.undo()
    theirs = value_and_gradients(StatevectorSimulator(), circuit, inputs, weights)
    for on_device, on_cpu in zip(ours, theirs, strict=True):
        torch.testing.assert_close(on_device.held, on_cpu)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("circuit", CIRCUITS, ids=str)
def test_cuda_agrees_with_the_cpu(circuit):
    on_cpu = value_and_gradients(StatevectorSimulator(), circuit, *sample(circuit))
    on_gpu = value_and_gradients(StatevectorSimulator(), circuit, *sample(circuit, device="cuda"))
    for cpu, gpu in zip(on_cpu, on_gpu, strict=True):
        assert gpu.is_cuda
        torch.testing.assert_close(gpu.cpu(), cpu, rtol=0, atol=1e-11)
