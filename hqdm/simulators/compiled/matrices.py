"""The matrices of instructions as a differentiable function of the phases of their gates.

M = M_G ... M_2 M_1,   M_g = A_g + cos(phase_g) B_g + sin(phase_g) C_g.
"""

import math
from itertools import groupby

import torch
from torch import Tensor

from hqdm.simulators.compiled import products
from hqdm.simulators.compiled.calls import BACKWARD, FORWARD, call, compute
from hqdm.simulators.compiled.code_cache import Kernel
from hqdm.simulators.compiled.lowering import Factor


class InstructionMatrices:
    """The matrices of all instructions of one size; short products are padded with identities.

    On the CPU an operation of the compiled kernels, see `KernelFunction`, whose argument are the
    phases of all gates, `(n_circuits, n_gates)`, and whose value are the matrices, `(n_circuits,
    n_instructions, size, size)`.

    Args:
        factors: The factors of each instruction, first applied first.
        dtype: Complex dtype of the matrices.
        device: Device of the constants.
    """

    def __init__(
        self, factors: list[list[Factor]], dtype: torch.dtype, device: torch.device
    ) -> None:
        size = len(factors[0][0].matrices[0])
        identity = torch.zeros(3, size, size, dtype=torch.complex128)
        identity[0] = torch.eye(size)
        longest = max(map(len, factors))
        filled = [row + [Factor(0, identity)] * (longest - len(row)) for row in factors]
        by_step = list(zip(*filled, strict=True))
        gates = [[factor.gate for factor in step] for step in by_step]
        self.gates = torch.tensor(gates, device=device)
        matrices = [torch.stack([factor.matrices for factor in step]) for step in by_step]
        self.matrices = torch.stack(matrices).to(device, dtype)
        self.shape = *self.gates.shape, size, size
        # Of the same memory on the CPU.
        self.terms = products.Terms(self.gates.cpu().numpy(), self.matrices.cpu().numpy())

    def __call__(self, phases: Tensor) -> Tensor:
        """The matrices for phases."""
        if phases.device.type != "cpu":
            return self.reference(phases)
        return compute(self, phases)

    def _call(self, kernel: Kernel, name: str, phases: Tensor, *arguments: Tensor) -> None:
        """Call one of the kernels."""
        arrays = (tensor.numpy() for tensor in (phases, *arguments))
        call(kernel, name, phases.dtype, self.terms, *arrays, n=1)

    def forward(self, phases: Tensor) -> tuple[Tensor, ...]:
        """The matrices, and the products of the first 1, 2, ... gates; see `Operation`."""
        phases = phases.detach().contiguous()
        partial = phases.new_empty(len(phases), *self.shape, dtype=self.matrices.dtype)
        self._call(products.multiply, FORWARD, phases, partial)
        return partial[:, -1], partial

    def backward(
        self, grad: Tensor, needed: tuple[bool, ...], phases: Tensor, partial: Tensor
    ) -> tuple[Tensor | None, ...]:
        """The gradient with respect to the phases; see `Operation`."""
        return (self.gradient(grad, phases, partial),)

    def gradient(self, grad: Tensor, phases: Tensor, partial: Tensor) -> Tensor:
        """The gradient with respect to the phases, from that with respect to the matrices."""
        phases = phases.detach().contiguous()
        grad = grad.resolve_conj().clone(memory_format=torch.contiguous_format)
        work = grad.new_empty(self.shape[-1])
        grad_phases = torch.zeros_like(phases)
        arguments = phases, partial, grad, work, grad_phases
        self._call(products.differentiate, BACKWARD, *arguments)
        return grad_phases

    def reference(self, phases: Tensor) -> Tensor:
        """The matrices in torch operations."""
        cos, sin = (part[:, self.gates, None, None] for part in (phases.cos(), phases.sin()))
        constant, cosine, sine = self.matrices.unbind(2)
        steps = (constant + cos * cosine + sin * sine).unbind(1)
        product = steps[0]
        for step in steps[1:]:
            product = step @ product if step.shape[-1] > 1 else step * product
        return product


class Entries:
    """The entries of all matrices of a lowered circuit.

    Args:
        factors: `Lowered.factors`.
        dtype: Complex dtype of the matrices.
        device: Device of the constants.
        inverse: Take the conjugate transposes of the matrices.
    """

    def __init__(
        self,
        factors: list[list[Factor]],
        dtype: torch.dtype,
        device: torch.device,
        inverse: bool = False,
    ) -> None:
        self.inverse = inverse
        by_size = groupby(factors, lambda row: len(row[0].matrices[0]))
        self.groups = [InstructionMatrices(list(rows), dtype, device) for _, rows in by_size]
        self.none = torch.empty(0, dtype=dtype, device=device)

    def __call__(self, phases: Tensor) -> Tensor:
        """The entries `(n_circuits, n_entries)` for the phases `(n_circuits, n_gates)`."""
        return self._joined([group(phases) for group in self.groups], phases)

    def forward(self, phases: Tensor) -> tuple[Tensor, ...]:
        """The entries, and what `backward` needs further."""
        values = [group.forward(phases) for group in self.groups]
        entries = self._joined([matrices for matrices, _ in values], phases)
        return entries, *(partial for _, partial in values)

    def backward(self, grad: Tensor, phases: Tensor, *further: Tensor) -> Tensor:
        """The gradient with respect to the phases."""
        total = torch.zeros_like(phases)
        shapes = [group.shape[1:] for group in self.groups]
        parts = grad.split([math.prod(shape) for shape in shapes], 1)
        for group, shape, part, partial in zip(self.groups, shapes, parts, further, strict=True):
            matrices = part.reshape(-1, *shape)
            total += group.gradient(matrices.mH if self.inverse else matrices, phases, partial)
        return total

    def reference(self, phases: Tensor) -> Tensor:
        """The entries in torch operations."""
        return self._joined([group.reference(phases) for group in self.groups], phases)

    def _joined(self, matrices: list[Tensor], phases: Tensor) -> Tensor:
        flat = [(matrix.mH if self.inverse else matrix).flatten(1) for matrix in matrices]
        if len(flat) == 1:
            return flat[0]
        return torch.cat([self.none.expand(len(phases), 0), *flat], 1)
