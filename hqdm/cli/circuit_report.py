"""The circuits of a model for `hqdm inspect`: gates and depth, and their simulators."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from hqdm.circuits import AmplitudeEmbedding, Ansatz, Circuit
from hqdm.diffusion.denoiser import Denoiser
from hqdm.nn.quantum_layer import QuantumLayer
from hqdm.simulators import AutoSimulator, Work, choose

MAX_SPECTRUM = 8  # qubits; the eigenvalues of 9 take a second
DISTINCT = 1e-5  # least distance of eigenphases in single precision


def report_circuits(
    denoiser: Denoiser, layers: dict[str, QuantumLayer], console: Console, batch: int
) -> None:
    """Print the quantum layers of a model, their simulators and their circuits.

    Args:
        denoiser: The model.
        layers: Its quantum layers by name.
        console: The console to print to.
        batch: Images per training step, for the choice of simulators.
    """
    console.print(layer_table(layers))
    for line in simulator_lines(denoiser, layers, batch):
        console.print(line, soft_wrap=True, highlight=False)
    for name, layer in layers.items():
        if (spectrum := spectrum_line(layer)) is not None:
            console.print(f"{name}: {spectrum}", soft_wrap=True, highlight=False)
    for circuit in dict.fromkeys(layer.circuit for layer in layers.values()):
        print_circuit(circuit, console)


def spectrum_line(layer: QuantumLayer) -> str | None:
    """The eigenphases of a layer of one unitary matrix, in a line.

    Args:
        layer: The layer. Of circuits with a label it is the first one.

    Returns:
        None if the circuit depends on the inputs other than by the initial state, there are several
        circuits, or more than `MAX_SPECTRUM` qubits.
    """
    n_wires = layer.circuit.n_wires
    plain = isinstance(layer.circuit.embedding, AmplitudeEmbedding) and layer.n_circuits == 1
    if not plain or n_wires > MAX_SPECTRUM:
        return None
    phases = eigenphases(layer)
    gaps = torch.cat([phases.diff(), phases[:1] + 2 * math.pi - phases[-1:]])
    distinct = max(1, int((gaps > DISTINCT).sum()))
    return (
        f"{len(phases)} eigenphases of the unitary, {distinct} of them distinct, at distances of "
        f"{float(gaps.min()):.1e} to {float(gaps.max()):.2f}"
    )


def eigenphases(layer: QuantumLayer) -> Tensor:
    """The arguments of the eigenvalues of a circuit on amplitudes, sorted, in (-pi, pi]."""
    n_wires = layer.circuit.n_wires
    embedding = AmplitudeEmbedding(n_wires)
    circuit = replace(
        layer.circuit, embedding=embedding, measure="state", wires=None, n_outcomes=None
    )
    theta = layer.theta.detach().float()
    basis = torch.eye(2**n_wires, device=theta.device)[None]
    columns = AutoSimulator()(circuit, basis, layer.angles(theta))[0].unflatten(1, (-1, 2))
    unitary = torch.view_as_complex(columns.contiguous())
    return torch.linalg.eigvals(unitary).angle().sort().values


def print_circuit(circuit: Circuit, console: Console) -> None:
    """Print the specifications of the circuit, and a drawing of its first layer."""
    console.print(f"\n{circuit.ansatz}, measured by {circuit.measure}")
    for key, value in circuit.specs().items():
        console.print(f"  {key}: {value}")
    first = circuit
    if isinstance(circuit.ansatz, Ansatz) and circuit.ansatz.n_layers > 1:
        first = replace(circuit, ansatz=replace(circuit.ansatz, n_layers=1), repeats=1)
        console.print(f"the embedding and the first of {circuit.ansatz.n_layers} layers:")
    console.print(first.draw(), markup=False, highlight=False, soft_wrap=True)


def layer_table(layers: dict[str, QuantumLayer]) -> Table:
    """The quantum layers: number and type of their circuits, and their simulator."""
    table = Table(title="quantum layers", pad_edge=False)
    table.add_column("layer", no_wrap=True)
    for header in ("circuits", "ansatz", "qubits", "angles", "simulator"):
        table.add_column(header, overflow="fold")
    for name, layer in layers.items():
        table.add_row(
            name.removesuffix(".layer").removesuffix(".quantum"),
            str(layer.n_circuits),
            type(layer.circuit.ansatz).__name__,
            str(layer.circuit.n_wires),
            str(layer.theta.numel()),
            layer.simulator.name,
        )
    return table


def simulator_lines(
    denoiser: Denoiser, layers: dict[str, QuantumLayer], batch: int
) -> Iterator[str]:
    """The simulator of each layer in a training step, with the reason of the choice."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    yield f"simulators in a training step of {batch} images on {device}:"
    names: dict[str, list[str]] = {}
    for name, n_samples in samples_of_an_image(denoiser, layers).items():
        layer = layers[name]
        line = f"circuits x samples {layer.n_circuits} x {batch * n_samples:,}: "
        if isinstance(layer.simulator, AutoSimulator):
            work = Work(
                layer.circuit,
                layer.n_circuits,
                batch * n_samples,
                memory_limit=layer.simulator.memory_limit,
            )
            choice = choose(work, device)
            line += f"{choice.simulator.name} ({choice.reason})"
        else:
            line += f"{layer.simulator.name} (as configured)"
        names.setdefault(line, []).append(name)
    for line, of_layers in names.items():
        yield f"  {len(of_layers)} layers, {line}"


def samples_of_an_image(denoiser: Denoiser, layers: dict[str, QuantumLayer]) -> dict[str, int]:
    """Samples per image of each layer, counted in one evaluation of the network."""
    samples: dict[str, int] = {}

    def counting(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def count_samples(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            samples[name] = layers[name].n_samples(tuple(inputs[0].shape))

        return count_samples

    hooks = [layer.register_forward_pre_hook(counting(name)) for name, layer in layers.items()]
    y = None if denoiser.n_classes is None else torch.zeros(1, dtype=torch.long)
    with torch.no_grad():
        denoiser(torch.zeros(1, *denoiser.sample_shape), torch.full((1,), 0.5), y)
    for hook in hooks:
        hook.remove()
    return samples
