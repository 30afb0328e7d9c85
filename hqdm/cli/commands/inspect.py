"""`hqdm inspect`: parameters by part, circuits with gates and depth, and simulators of a model."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import cast

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from hqdm.circuits import Ansatz, Circuit
from hqdm.cli.commands.fit import TrainingCLI
from hqdm.cli.options import Parser, add_model
from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.loading import load_denoiser
from hqdm.nn.parts import (
    QuantumModule,
    classical_parameters,
    count,
    quantum_layers,
    quantum_modules,
    quantum_parameters,
)
from hqdm.nn.quantum_layer import QuantumLayer
from hqdm.simulators import AutoSimulator, Work, choose
from hqdm.utils.errors import HQDMError
from hqdm.utils.tables import Sheet


def run(args: Sequence[str]) -> None:
    """Show a model: layers, parameter counts, circuits with depth and gates."""
    parser = Parser("hqdm inspect", description=run.__doc__)
    parser.add_argument(
        "--config", help="a training configuration; options of `hqdm fit` may follow"
    )
    add_model(parser, required=False)
    parser.add_argument(
        "--batch", type=int, default=128, help="images per training step, for the simulators (128)"
    )
    options, changes = parser.parse_known_args(args)
    if options.batch < 1:
        raise HQDMError(f"batch needs 1 or more, got {options.batch}")
    if bool(options.config) == bool(options.checkpoint):
        raise HQDMError("inspect needs one of --config and --checkpoint")

    if changes and not options.config:
        parser.error(f"unrecognized arguments: {' '.join(changes)}")
    if options.config:
        denoiser = TrainingCLI(["--config", options.config, *changes]).model.denoiser
    else:
        denoiser = load_denoiser(options.checkpoint)
    report(denoiser, Console(), options.batch)


def report(denoiser: Denoiser, console: Console, batch: int) -> None:
    """Print the model's parts, layers, simulators and circuits.

    Args:
        denoiser: The model.
        console: The console to print to.
        batch: Images per training step, for the choice of simulators.
    """
    shape = "x".join(map(str, denoiser.sample_shape))
    console.print(
        f"{type(denoiser.network).__name__} for samples of shape {shape}, predicts "
        f"{denoiser.predict}, {denoiser.schedule}, classes: {denoiser.n_classes or 'none'}"
    )
    options = {k: v for k, v in denoiser.network.config.items() if not isinstance(v, Mapping)}
    if options:
        console.print("options:", ", ".join(f"{k} {v}" for k, v in options.items()), soft_wrap=True)
    console.print(parameter_sheet(denoiser).rich())
    layers = quantum_layers(denoiser)
    others = {name: m for name, m in quantum_modules(denoiser).items() if name not in layers}
    for name, module in others.items():
        angles = count(cast(QuantumModule, module).quantum_parameters())
        console.print(f"{name}: {type(module).__name__} with {angles:,} circuit angles")
    if not layers:
        if not others:
            console.print("no quantum layers: the network is classical")
        return
    console.print(layer_table(layers))
    for line in simulator_lines(denoiser, layers, batch):
        console.print(line, soft_wrap=True, highlight=False)
    for circuit in dict.fromkeys(layer.circuit for layer in layers.values()):
        _print_circuit(circuit, console)


def _print_circuit(circuit: Circuit, console: Console) -> None:
    """Print the specifications of the circuit, and a drawing of its first layer."""
    console.print(f"\n{circuit.ansatz}, measured by {circuit.measure}")
    for key, value in circuit.specs().items():
        console.print(f"  {key}: {value}")
    first = circuit
    if isinstance(circuit.ansatz, Ansatz) and circuit.ansatz.n_layers > 1:
        first = replace(circuit, ansatz=replace(circuit.ansatz, n_layers=1))
        console.print(f"the embedding and the first of {circuit.ansatz.n_layers} layers:")
    console.print(first.draw(), markup=False, highlight=False, soft_wrap=True)


def parameter_sheet(denoiser: Denoiser) -> Sheet:
    """Numbers of classical and quantum parameters by part of the network."""
    numbers = (classical_parameters, quantum_parameters, nn.Module.parameters)
    counts = {
        name: [count(select(module)) for select in numbers]
        for name, module in denoiser.network.parts.items()
    }
    total = [count(select(denoiser)) for select in numbers]
    outside = [whole - sum(own) for whole, *own in zip(total, *counts.values(), strict=True)]
    if any(outside):
        counts["outside parts"] = outside
    counts["total"] = total
    rows = [(name, *(f"{number:,}" for number in row)) for name, row in counts.items()]
    return Sheet("parameters", ("part", "classical", "quantum", "all"), rows)


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
            samples[name] = inputs[0].shape[:-2].numel()

        return count_samples

    hooks = [layer.register_forward_pre_hook(counting(name)) for name, layer in layers.items()]
    y = None if denoiser.n_classes is None else torch.zeros(1, dtype=torch.long)
    with torch.no_grad():
        denoiser(torch.zeros(1, *denoiser.sample_shape), torch.full((1,), 0.5), y)
    for hook in hooks:
        hook.remove()
    return samples
