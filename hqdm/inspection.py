"""What a model is made of: parameters by part, and every circuit with its gates and depth."""

from dataclasses import replace

from rich.console import Console
from rich.table import Table

from hqdm.circuits import Ansatz, Circuit
from hqdm.denoiser import Denoiser
from hqdm.nn.parts import classical_parameters, count, part, quantum_layers, quantum_parameters
from hqdm.nn.quantum import QuantumLayer
from hqdm.nn.unet import PARTS


def report(denoiser: Denoiser, console: Console) -> None:
    """Print the model's parts, layers and circuits."""
    network = denoiser.network
    c, h, w = denoiser.image_shape
    console.print(
        f"U-Net for {h}x{w}x{c} images, predicts {denoiser.predict}, {denoiser.schedule}, "
        f"classes: {denoiser.n_classes or 'none'}"
    )
    console.print(parameter_table(denoiser))
    layers = quantum_layers(network)
    if not layers:
        console.print("no quantum layers: this is the classical U-Net")
        return
    console.print(layer_table(layers))
    for circuit in dict.fromkeys(layer.circuit for layer in layers.values()):
        _print_circuit(circuit, console)


def _print_circuit(circuit: Circuit, console: Console) -> None:
    """Specs of the whole circuit, and a drawing of its first layer."""
    console.print(f"\n{circuit.ansatz}, measured by {circuit.measure}")
    for key, value in circuit.specs().items():
        console.print(f"  {key}: {value}")
    first = circuit
    if isinstance(circuit.ansatz, Ansatz) and circuit.ansatz.n_layers > 1:
        first = replace(circuit, ansatz=replace(circuit.ansatz, n_layers=1))
        console.print(f"the embedding and the first of {circuit.ansatz.n_layers} layers:")
    console.print(first.draw(), markup=False, highlight=False, soft_wrap=True)


def parameter_table(denoiser: Denoiser) -> Table:
    """Parameters by part of the network, classical and quantum apart."""
    table = Table("part", "classical", "quantum", "all", title="parameters")
    for column in table.columns[1:]:
        column.justify = "right"
    modules = {name: part(denoiser.network, name) for name in PARTS} | {"total": denoiser}
    for name, module in modules.items():
        numbers = (classical_parameters, quantum_parameters, lambda m: m.parameters())
        table.add_row(name, *(f"{count(select(module)):,}" for select in numbers))
    return table


def layer_table(layers: dict[str, QuantumLayer]) -> Table:
    """The quantum layers: how many circuits of what kind, run by which simulator."""
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
