r"""The best unitary of all (orthogonal Procrustes problem), a bound for every circuit of USS.

Over all unitary d x d matrices U, the squared loss of pairs (x_k, y_k) of vectors is

    L(U) = sum_k |U x_k - y_k|^2 = sum_k (|x_k|^2 + |y_k|^2) - 2 Re tr(U^H M),
    M = sum_k y_k x_k^H,

since U keeps norms. With the singular value decomposition M = V S W^H,

    Re tr(U^H M) = Re tr(Q S) = sum_i S_i Re Q_ii <= sum_i S_i,          Q = W^H U^H V,

because the entries of the unitary Q are at most 1 in modulus, with equality for Q = 1. Hence

    U* = V W^H,     min L = sum_k (|x_k|^2 + |y_k|^2) - 2 sum_i S_i.

For real pairs M is real and so is U*: complex amplitudes lower the loss of no pair of real images.
The bound holds for circuits of any depth without an ancilla, whose images fill all d amplitudes.
Source: Schoenemann, Psychometrika 31 (1966), for real matrices.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from hqdm.circuits.lazy import qml
from hqdm.nn.amplitude.states import StateNetwork
from hqdm.nn.amplitude.unitary import USS
from hqdm.nn.network import register_network
from hqdm.utils.checks import whole
from hqdm.utils.errors import HQDMError
from hqdm.utils.progress import Progress, silent, stepwise


class Pairs:
    """Sums over pairs of vectors, from which the squared loss of any matrix follows, in float64.

    Args:
        dim: Number d of entries of the vectors.

    Attributes:
        n: Number of pairs so far.
        cross: M, the sum of y x^H, `(d, d)`.
        inputs: The sum of x x^H, `(d, d)`.
        targets: The sum of |y|^2.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.n = 0
        self.cross = torch.zeros(dim, dim, dtype=torch.float64)
        self.inputs = torch.zeros(dim, dim, dtype=torch.float64)
        self.targets = 0.0

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add pairs of real or complex vectors, `(B, d)` each.

        Raises:
            HQDMError: If the shapes are others.
        """
        if x.shape != y.shape or x.shape[1:] != (self.dim,):
            raise HQDMError(
                f"pairs need two shapes (B, {self.dim}), got {tuple(x.shape)}, {tuple(y.shape)}"
            )
        x, y = (
            part.detach().cpu().to(torch.promote_types(part.dtype, torch.float64))
            for part in (x, y)
        )
        self.n += len(x)
        self.cross = self.cross + y.mT @ x.conj()
        self.inputs = self.inputs + x.mT @ x.conj()
        self.targets += float(y.abs().square().sum())

    def loss(self, matrix: Tensor) -> float:
        """The mean of `|A x - y|^2` over the entries of all pairs, for any matrix A `(d, d)`.

        Raises:
            HQDMError: If there are no pairs.
        """
        self._require_pairs()
        dtype = torch.promote_types(self.cross.dtype, matrix.dtype)
        a, m, c = (part.cpu().to(dtype) for part in (matrix.detach(), self.cross, self.inputs))
        squares = (a @ c * a.conj()).sum().real - 2 * (a.conj() * m).sum().real + self.targets
        return float(squares) / (self.n * self.dim)

    def best(self) -> Tensor:
        """The unitary matrix U* of least loss, `(d, d)`; real for real pairs.

        Raises:
            HQDMError: If there are no pairs.
        """
        self._require_pairs()
        v, _, wh = torch.linalg.svd(self.cross)
        return v @ wh

    def bound(self) -> float:
        """The least loss of any unitary matrix, in closed form.

        Raises:
            HQDMError: If there are no pairs.
        """
        self._require_pairs()
        norms = float(self.inputs.diagonal().real.sum()) + self.targets
        least = norms - 2 * float(torch.linalg.svdvals(self.cross).sum())
        return least / (self.n * self.dim)

    def _require_pairs(self) -> None:
        if not self.n:
            raise HQDMError("the best unitary needs one pair of images or more, got none")


@register_network
class BestUnitary(StateNetwork):
    """A real orthogonal matrix in place of the circuit of `USS`; see the module docstring.

    Args:
        channels: Channels of the images.
        size: Height and width of the images.

    Attributes:
        matrix: The matrix `(d, d)`; at the start the identity. It is a parameter that is not
            trained, since a model has the device and the precision of its parameters.
    """

    def __init__(self, channels: int = 1, size: int = 8) -> None:
        super().__init__(channels, size)
        self.config: dict[str, Any] = {"channels": channels, "size": size}
        self.matrix = nn.Parameter(torch.eye(self.dim), requires_grad=False)
        self.parts: dict[str, nn.Module] = {}

    @property
    def n_wires(self) -> int:
        """See `StateNetwork`."""
        return self.n_qubits

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """The images one step back, `(B, C, H, W)`; times and labels are not used."""
        pixels = self.pixels(x_t)
        return self.images(pixels @ self.matrix.mT.to(pixels))

    def kraus(self, y: int | None = None) -> Tensor:
        """See `StateNetwork`."""
        dtype = torch.promote_types(self.matrix.dtype, torch.float32)
        return self.matrix.to(dtype.to_complex())[None]

    def queue(self, y: int | None = None) -> None:
        """See `StateNetwork`."""
        qml.QubitUnitary(self.kraus(y)[0].detach().cpu().numpy(), wires=range(self.n_wires))

    def fit(self, pairs: Pairs) -> float:
        """Set the matrix to the best unitary of pairs of real vectors.

        Returns:
            The least loss of any unitary matrix, see `Pairs.bound`.

        Raises:
            HQDMError: If the pairs have other sizes, or are complex, or there are none.
        """
        best = pairs.best()
        if best.is_complex() or best.shape != self.matrix.shape:
            raise HQDMError(
                f"BestUnitary needs real pairs of {self.dim} pixels, got {best.dtype} of "
                f"{pairs.dim}"
            )
        self.matrix.data.copy_(best)
        return pairs.bound()


def fit_circuit(
    network: USS,
    matrix: Tensor,
    steps: int = 500,
    lr: float = 0.02,
    progress: Progress = silent,
) -> float:
    r"""Fit the angles of a circuit to a unitary matrix, as initial values of its training.

    Adam minimises 1 - Re tr(U^H V) / d = |U - V|_F^2 / (2 d), for the unitary V of the circuit. It
    is the infidelity 1 - |tr(U^H V)| / d at the best global phase; the phase counts, since training
    compares real parts of amplitudes with pixels.

    Args:
        network: The circuit, without an ancilla.
        matrix: The unitary matrix U, `(d, d)`.
        steps: Number of steps of Adam.
        lr: Its learning rate, which decreases to 0 by a cosine.
        progress: Reports the steps.

    Returns:
        The loss that is reached, in [0, 2].

    Raises:
        HQDMError: If the circuit has an ancilla or a control in its place, or the matrix has
            another size.
    """
    whole("steps", steps, 1)
    if network.has_ancilla:
        raise HQDMError("a circuit with an ancilla is no unitary of the image: leave it out")
    if matrix.shape != (network.dim, network.dim):
        raise HQDMError(
            f"the circuit needs a matrix of shape {(network.dim, network.dim)}, "
            f"got {tuple(matrix.shape)}"
        )
    optimizer = torch.optim.Adam([network.layer().theta], lr)
    done = stepwise(progress, "fit of the circuit", steps)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * step / steps)) / 2
        optimizer.zero_grad()
        distance_to(network, matrix).backward()
        optimizer.step()
        done()
    optimizer.zero_grad()
    with torch.no_grad():
        return float(distance_to(network, matrix))


def distance_to(network: USS, matrix: Tensor) -> Tensor:
    """The loss of `fit_circuit`, `()`."""
    own = network.kraus()[0]
    return 1 - (matrix.to(own).conj() * own).sum().real / network.dim
