"""Measurements of a PennyLane quantum function as a linear map of a circuit's outputs.

One gate on each wire changes the basis from the measured Pauli matrix to Z. With p the
probabilities of the outcomes s of all measured wires, an observable sum_k c_k P_k of Pauli words
P_k has the expectation

    <O> = sum_s p(s) sum_k c_k prod_(wires w of P_k) (-1)^(s_w),

and the probabilities of some of the wires are sums of p. If every word has one letter, the
expectations of Z on single wires suffice.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import pennylane as qml
import torch
from torch import Tensor

from hqdm.utils.errors import HQDMError

EXPECTED = "expected qml.expval of products or sums of Pauli matrices, or qml.probs(wires=...)"
BASIS_CHANGE: dict[str, Callable[[int], Any]] = {
    "X": lambda wire: qml.Hadamard(wires=wire),
    "Y": lambda wire: qml.RX(np.pi / 2, wires=wire),
    "Z": lambda wire: None,
}
"""For each Pauli matrix, a function that queues the gate that maps it to Z."""


class UnsupportedQNode(HQDMError):
    """A QNode that a circuit and a linear map of its outputs cannot represent."""


Word = tuple[tuple[Hashable, str], ...]  # wires and their Pauli letters


@dataclass(frozen=True)
class Expectation:
    """The expectation of a sum of Pauli words.

    Attributes:
        terms: Coefficients and words; the identity is the word without letters.
    """

    terms: tuple[tuple[float, Word], ...]

    @property
    def letters(self) -> Word:
        """The wires and their Pauli letters, in the order of the words."""
        return tuple(letter for _, word in self.terms for letter in word)


@dataclass(frozen=True)
class Probabilities:
    """The probabilities of the joint outcomes of some wires.

    Attributes:
        wires: The wires, the first one most significant.
    """

    wires: tuple[Hashable, ...]

    @property
    def letters(self) -> Word:
        """Z on every wire."""
        return tuple((wire, "Z") for wire in self.wires)


Measurement = Expectation | Probabilities


@dataclass(frozen=True)
class Returned:
    """The measurements that a quantum function returns.

    Attributes:
        container: "one" measurement, or a "list" or a "tuple" of them, which decides the shape of
            the outputs.
        measurements: The measurements.
    """

    container: str
    measurements: tuple[Measurement, ...]

    @property
    def bases(self) -> dict[Hashable, str]:
        """The measured wires, in the order of their first use, and the Pauli matrix on each.

        Raises:
            HQDMError: If a wire is measured in two bases.
        """
        bases: dict[Hashable, str] = {}
        for measurement in self.measurements:
            for wire, letter in measurement.letters:
                if bases.setdefault(wire, letter) != letter:
                    raise UnsupportedQNode(
                        f"the QNode measures wire {wire!r} in the bases {bases[wire]} and "
                        f"{letter}, expected one basis per wire"
                    )
        return bases


def read_returned(returned: Any, queued: Sequence[Any], wires: Sequence[Hashable]) -> Returned:
    """The measurements that a quantum function returns.

    Args:
        returned: A PennyLane measurement, or a list or tuple of them.
        queued: The measurements in the order in which they were queued.
        wires: The wires of the device, which `qml.probs()` measures; empty if it accepts any.

    Raises:
        HQDMError: If they are of another kind, or differ from the queued ones.
    """
    container = type(returned).__name__ if type(returned) in (list, tuple) else "one"
    processes = [returned] if container == "one" else list(returned)
    if [id(process) for process in processes] != [id(process) for process in queued]:
        raise HQDMError(
            f"the QNode returns {type(returned).__name__} and makes {len(queued)} measurements: "
            "return one measurement, or a list or tuple of all of them in order"
        )
    measurements = tuple(read_measurement(process, tuple(wires)) for process in processes)
    sizes = {len(m.wires) if isinstance(m, Probabilities) else 0 for m in measurements}
    if not measurements or (container == "tuple" and len(sizes) > 1):
        raise HQDMError(
            "the QNode returns nothing, or a tuple of measurements of different sizes: return a "
            "list of measurements"
        )
    return Returned(container, measurements)


def read_measurement(process: Any, wires: tuple[Hashable, ...]) -> Measurement:
    """A PennyLane measurement.

    Args:
        process: The measurement.
        wires: The wires that `qml.probs()` measures; empty if it has to name them.

    Raises:
        UnsupportedQNode: If it is neither probabilities nor the expectation of Pauli words with
            constant real coefficients.
    """
    kind = type(process)
    if kind is qml.measurements.ExpectationMP and process.obs is not None:
        return _expectation(process.obs)
    if kind is qml.measurements.ProbabilityMP and process.obs is None and process.mv is None:
        measured = tuple(process.wires) or wires
        if not measured:
            raise UnsupportedQNode("the QNode measures qml.probs(), expected qml.probs(wires=...)")
        return Probabilities(measured)
    raise UnsupportedQNode(f"the QNode measures {process}, {EXPECTED}")


def _expectation(observable: Any) -> Expectation:
    sentence = observable.pauli_rep
    if sentence is None:
        raise UnsupportedQNode(f"the QNode measures {_in_words(observable)}, {EXPECTED}")
    terms = []
    for word, coefficient in sentence.items():
        if isinstance(coefficient, Tensor):
            if coefficient.requires_grad:
                raise UnsupportedQNode(
                    f"the QNode measures {_in_words(observable)} with coefficients that require "
                    "a gradient, expected numbers"
                )
            coefficient = coefficient.item()
        if np.ndim(coefficient) or np.imag(coefficient):
            raise UnsupportedQNode(
                f"the QNode measures {_in_words(observable)} with the coefficient {coefficient}, "
                "expected a real number"
            )
        terms.append((float(np.real(coefficient)), tuple(word.items())))
    return Expectation(tuple(terms))


def _in_words(observable: Any) -> str:
    """The observable in one line."""
    text = " ".join(str(observable).split())
    return text if len(text) <= 60 else observable.name


@dataclass(frozen=True, eq=False)
class Readout:
    """The map from the outputs of a circuit to those of a quantum function.

    Attributes:
        measure: The measurement that the circuit needs on the wires of `bases`, see `Circuit`.
        container: See `Returned`.
        marginals: For each measurement, the positions of its wires among those that the circuit
            measures; None for an expectation.
        matrix: The expectations as a linear function of the circuit's outputs,
            `(n_expectations, n_outputs)` float64.
        constant: Their constant terms, `(n_expectations,)` float64.
    """

    measure: str
    container: str
    marginals: tuple[tuple[int, ...] | None, ...]
    matrix: Tensor
    constant: Tensor

    def __call__(self, values: Tensor, lead: tuple[int, ...]) -> Tensor:
        """The outputs of `qml.qnn.TorchLayer` for the QNode.

        Args:
            values: Outputs of the circuit, `(B, n_outputs)`.
            lead: The axes before the features, B samples in all; none for a single sample.

        Returns:
            `lead` for one expectation, `(*lead, 2**n_wires)` for probabilities, `(*lead, n)` for
            a list of measurements, concatenated, and `(n_measurements, *lead, n)`
            for a tuple of several.
        """
        parts = self.parts(values)
        if self.container == "tuple" and len(parts) > 1:
            return torch.stack([part.reshape(*lead, part.shape[-1]) for part in parts])
        if self.container == "one" and self.marginals[0] is None:
            return parts[0].reshape(lead)
        joined = torch.cat(parts, -1)
        return joined.reshape(*lead, joined.shape[-1])

    def parts(self, values: Tensor) -> list[Tensor]:
        """The results of the measurements, `(B, 1)` for an expectation, else `(B, 2**n_wires)`."""
        expectations = values @ self.matrix.to(values).T + self.constant.to(values)
        columns = iter(expectations.split(1, -1))
        return [
            next(columns) if places is None else marginal(values, places)
            for places in self.marginals
        ]

    def output_shape(self, lead: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the outputs for the axes before the features; see `__call__`."""
        sizes = [1 if places is None else 2 ** len(places) for places in self.marginals]
        if self.container == "tuple" and len(sizes) > 1:
            return len(sizes), *lead, sizes[0]
        if self.container == "one" and self.marginals[0] is None:
            return lead
        return *lead, sum(sizes)


def marginal(probabilities: Tensor, places: tuple[int, ...]) -> Tensor:
    """Probabilities of some wires from those of all, `(B, 2**n)` to `(B, 2**len(places))`."""
    n = probabilities.shape[-1].bit_length() - 1
    if places == tuple(range(n)):
        return probabilities
    joint = probabilities.reshape(-1, *(2,) * n)
    rest = [1 + place for place in range(n) if place not in places]
    kept = [1 + place for place in places]
    by_outcome = joint.permute(0, *kept, *rest).reshape(-1, 2 ** len(kept), 2 ** len(rest))
    return by_outcome.sum(-1)


def readout(returned: Returned) -> Readout:
    """The map to the outputs of a quantum function.

    Args:
        returned: The measurements, each wire in one basis.
    """
    places = {wire: place for place, wire in enumerate(returned.bases)}
    expectations = [m for m in returned.measurements if isinstance(m, Expectation)]
    words = [word for expectation in expectations for _, word in expectation.terms]
    single = len(expectations) == len(returned.measurements) and max(map(len, words), default=0) < 2
    n_outputs = max(len(places), 1) if single else 2 ** len(places)
    matrix, constant = np.zeros((len(expectations), n_outputs)), np.zeros(len(expectations))
    for row, expectation in enumerate(expectations):
        for coefficient, word in expectation.terms:
            here = [places[wire] for wire, _ in word]
            if not here:
                constant[row] += coefficient
            elif single:
                matrix[row, here] += coefficient
            else:
                matrix[row] += coefficient * signs(len(places), here)
    return Readout(
        "expval_z" if single else "probs",
        returned.container,
        tuple(
            tuple(places[wire] for wire in m.wires) if isinstance(m, Probabilities) else None
            for m in returned.measurements
        ),
        torch.from_numpy(matrix),
        torch.from_numpy(constant),
    )


def signs(n: int, places: Sequence[int]) -> np.ndarray:
    """The eigenvalues of a product of Z on some of n wires, `(2**n,)`."""
    factors = [np.array([1.0, -1.0]) if place in places else np.ones(2) for place in range(n)]
    return reduce(np.kron, factors, np.ones(1))
