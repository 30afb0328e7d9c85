"""Every operation of PennyLane that acts on qubits, plain and wrapped, against default.qubit."""

from contextlib import suppress

import numpy as np
import operations
import pennylane as qml
import pytest
import torch
from marks import thinned

from hqdm.circuits import Circuit
from hqdm.simulators import StatevectorSimulator
from hqdm.simulators.program.decomposition import MAX_GATE_WIRES, native
from hqdm.utils.errors import HQDMError

N_WIRES = operations.N_WIRES + 3

NO_MATRIX_ROOT = (
    *("CRot", "DoubleExcitationMinus", "DoubleExcitationPlus", "IQP", "OrbitalRotation", "PSWAP"),
    *("QSVT", "Rot", "SingleExcitationMinus", "SingleExcitationPlus", "U2", "U3"),
    *("evolve", "exp", "exp of a sum", "prod"),
)
REFUSED = {
    **{(name, "root"): "cannot run|cannot take" for name in NO_MATRIX_ROOT},
    ("QFT", "root"): "not unitary",  # PennyLane's matrix of it is not
    **{("Projector", variant): "not unitary" for variant in operations.VARIANTS},
    **{("SelectPauliRot", v): "cannot take SelectPauliRot apart" for v in operations.VARIANTS},
    **{("SpecialUnitary", v): "cannot take|cannot run" for v in operations.VARIANTS},
    **{
        (f"DoubleExcitation{sign}", f"controlled{by}"): "too wide"
        for sign in ("Minus", "Plus")
        for by in ("", " by three")
    },
}
"""What default.qubit runs and we refuse, with the reason that we give."""

ALL = [(name, variant) for name in operations.names() for variant in operations.VARIANTS]
OF_REPORTS = [
    *(("U3", "controlled"), ("U2", "controlled"), ("Rot", "controlled by three")),
    *(("CRX", "controlled by three"), ("PhaseShift", "controlled by three")),
    *(("exp", "plain"), ("exp of a sum", "plain"), ("evolve", "adjoint"), ("IQP", "plain")),
    *(("TrotterProduct", "plain"), ("TrotterProduct", "controlled"), ("Projector", "plain")),
    *(("SpecialUnitary", "plain"), ("U3", "inverse"), ("RX", "root")),
    ("GlobalPhase", "controlled"),
]
FEW = [*OF_REPORTS, *(case for case in ALL[::29] if case not in OF_REPORTS)]


def circuit(name, variant):
    """Rotations, the operation, rotations, and the probabilities of all outcomes."""

    def queue(x, w):
        with qml.QueuingManager.stop_recording():
            operation = operations.VARIANTS[variant](name, list(w))
        for wire in range(N_WIRES):
            qml.RY(0.3 + 0.2 * wire + x[0], wires=wire)
        qml.apply(operation)
        for wire in range(N_WIRES):
            qml.RX(0.4 - 0.1 * wire, wires=wire)

    return Circuit.from_qfunc(
        queue,
        n_wires=N_WIRES,
        n_inputs=1,
        weights_shape=(operations.N_ANGLES,),
        measure="probs",
    )


def test_every_operation_has_a_recipe_or_a_reason():
    for name, cls in operations.classes().items():
        if not operations.unmade(name):
            assert operations.make(name, torch.rand(operations.N_ANGLES).double()), cls
    assert set(operations.EXCLUDED) <= set(operations.classes())
    assert not set(operations.EXCLUDED) & set(operations.RECIPES)


def check(name, variant):
    case = circuit(name, variant)
    x, w = torch.tensor([0.1]).double(), 2 * torch.rand(operations.N_ANGLES).double()
    device = qml.device("default.qubit", wires=N_WIRES)
    try:
        expected = qml.QNode(case.qfunc, device)(x, w)
    except Exception:  # PennyLane has neither matrix nor gates for it
        expected = None

    def simulated():
        return StatevectorSimulator()(case, x[None, None], w[None])[0, 0]

    if expected is None:
        # Either we refuse it, or our rules go further; what cannot be made fails in its own words.
        with suppress(HQDMError, ValueError, np.linalg.LinAlgError):
            assert simulated().sum().item() == pytest.approx(1, abs=1e-9)
    elif (name, variant) in REFUSED:
        with pytest.raises(HQDMError, match=REFUSED[name, variant]) as error:
            simulated()
        assert "use simulator='pennylane:default.qubit'" in str(error.value)
    else:
        torch.testing.assert_close(simulated(), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("name", "variant"), thinned(FEW, every=4))
def test_some_operations_are_those_of_default_qubit(name, variant):
    check(name, variant)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "variant"), [case for case in ALL if case not in FEW])
def test_all_operations_are_those_of_default_qubit(name, variant):
    check(name, variant)


@pytest.mark.parametrize("n_controls", [3, 4, 5, 7])
@pytest.mark.parametrize(
    "gate", thinned([qml.RX, qml.RY, qml.RZ, qml.PhaseShift, qml.GlobalPhase], every=5)
)
def test_many_controls_are_gates_of_few(gate, n_controls):
    """The product of the gates is the controlled gate itself, with its phase."""
    wires, values = range(n_controls + 1), [i % 2 for i in range(n_controls)]
    angle = torch.tensor(0.7, dtype=torch.float64)
    gated = qml.ctrl(gate(angle, wires=n_controls), control=wires[:-1], control_values=values)
    parts = list(native(gated))
    angles = [part for part in parts if any(isinstance(p, torch.Tensor) for p in part.parameters)]
    assert angles
    assert all(len(part.wires) <= MAX_GATE_WIRES for part in angles)
    plain = qml.ctrl(gate(0.7, wires=n_controls), control=wires[:-1], control_values=values)
    product = np.eye(2 ** len(wires))
    for part in parts:
        product = np.asarray(qml.matrix(part, wire_order=wires)) @ product
    np.testing.assert_allclose(product, qml.matrix(plain, wire_order=wires), rtol=0, atol=1e-12)


def test_tensors_outside_of_the_parameters_are_angles():
    """IQP keeps its weights among its hyperparameters, where PennyLane counts no parameters."""
    parts = native(operations.make("IQP", torch.rand(operations.N_ANGLES)))
    angles = [part.parameters[0] for part in parts if part.name == "MultiRZ"]
    assert len(angles) == 2
    assert all(isinstance(angle, torch.Tensor) for angle in angles)
