"""Every operation of PennyLane that acts on qubits, on wires 0..5, with angles `a[0]`, `a[1]`, ...

`AUTOMATIC` operations are made of their numbers of angles and wires. The others have a recipe, or a
reason in `EXCLUDED`: `classes` finds all of them, so that none is left out unnoticed.
"""

import numpy as np
import pennylane as qml
import torch
from pennylane.operation import Channel, CVObservable, CVOperation, Operator

N_WIRES = 6
N_ANGLES = 24


def _all_classes(parent=Operator):
    for child in parent.__subclasses__():
        yield child
        yield from _all_classes(child)


def classes():
    """The operations that PennyLane exports, by name."""
    found = {cls.__name__: cls for cls in _all_classes() if getattr(qml, cls.__name__, None) is cls}
    return dict(sorted(found.items()))


def is_excluded(cls):
    """True if a class acts on other systems than qubits, or is noise."""
    other = issubclass(cls, (Channel, CVOperation, CVObservable))
    return other or "qutrit" in cls.__module__ or ".cv" in cls.__module__


EXCLUDED = {
    "AmplitudeEmbedding": "prepares a state: an embedding of hqdm",
    "StatePrep": "prepares a state",
    "QubitDensityMatrix": "prepares a mixed state",
    "CVNeuralNetLayers": "continuous variables",
    "DisplacementEmbedding": "continuous variables",
    "SqueezingEmbedding": "continuous variables",
    "Interferometer": "continuous variables",
    "QutritBasisStatePreparation": "qutrits",
    "Hermitian": "an observable",
    "SparseHamiltonian": "an observable",
    "FromBloq": "needs another package (qualtran)",
    "HilbertSchmidt": "a cost function over two registers of equal gates",
    "LocalHilbertSchmidt": "a cost function over two registers of equal gates",
    "MPSPrep": "needs another simulator (lightning.tensor)",
    "QuantumMonteCarlo": "more wires than a test has",
    "QubitChannel": "noise",
    "PauliError": "noise",
}
"""Classes without a recipe, and the reason."""

H = qml.dot([1.0, 0.5], [qml.X(0) @ qml.X(1), qml.Z(1)])
COMMUTING = qml.dot([1.0, 0.5], [qml.X(0) @ qml.X(1), qml.Z(0) @ qml.Z(1)])
SWAP_LIKE = np.eye(4)[[0, 2, 1, 3]]


def _block(weights, wires):
    qml.RY(weights[0], wires=wires[0])
    qml.RX(weights[1], wires=wires[1])
    qml.CNOT(wires=wires)


def _tensor(a, *shape):
    n = int(np.prod(shape))
    return torch.stack([a[i % len(a)] for i in range(n)]).reshape(shape)


RECIPES = {
    "AQFT": lambda a: qml.AQFT(order=1, wires=range(3)),
    "Adder": lambda a: qml.Adder(3, x_wires=[0, 1, 2], mod=8),
    "AllSinglesDoubles": lambda a: qml.AllSinglesDoubles(
        _tensor(a, 2), range(4), np.array([1, 1, 0, 0]), singles=[[0, 2]], doubles=[[0, 1, 2, 3]]
    ),
    "AmplitudeAmplification": lambda a: qml.AmplitudeAmplification(
        qml.prod(qml.Hadamard(0), qml.Hadamard(1)), qml.FlipSign(3, wires=[0, 1])
    ),
    "AngleEmbedding": lambda a: qml.AngleEmbedding(_tensor(a, 3), wires=range(3)),
    "ApproxTimeEvolution": lambda a: qml.ApproxTimeEvolution(H, a[0], 2),
    "ArbitraryStatePreparation": lambda a: qml.ArbitraryStatePreparation(
        _tensor(a, 6), wires=range(2)
    ),
    "ArbitraryUnitary": lambda a: qml.ArbitraryUnitary(_tensor(a, 15), wires=range(2)),
    "BBQRAM": lambda a: qml.BBQRAM(
        ["0", "1"], control_wires=[0], target_wires=[1], work_wires=[2, 3, 4, 5]
    ),
    "BasicEntanglerLayers": lambda a: qml.BasicEntanglerLayers(_tensor(a, 1, 3), wires=range(3)),
    "BasisEmbedding": lambda a: qml.BasisEmbedding([1, 0, 1], wires=range(3)),
    "BasisRotation": lambda a: qml.BasisRotation(
        wires=range(3), unitary_matrix=np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    ),
    "BasisState": lambda a: qml.BasisState([1, 0, 1], wires=range(3)),
    "BlockEncode": lambda a: qml.BlockEncode(np.array([[0.1, 0.2], [0.3, 0.4]]), wires=range(2)),
    "CommutingEvolution": lambda a: qml.CommutingEvolution(COMMUTING, a[0]),
    "ControlledQubitUnitary": lambda a: qml.ControlledQubitUnitary(SWAP_LIKE, wires=[0, 1, 2, 3]),
    "ControlledSequence": lambda a: qml.ControlledSequence(qml.RX(a[0], wires=3), control=range(3)),
    "CosineWindow": lambda a: qml.CosineWindow(wires=range(3)),
    "DiagonalQubitUnitary": lambda a: qml.DiagonalQubitUnitary(
        np.exp(1j * np.arange(4.0)), wires=range(2)
    ),
    "FABLE": lambda a: qml.FABLE(np.array([[0.1, 0.2], [0.3, -0.4]]), wires=range(3)),
    "FermionicDoubleExcitation": lambda a: qml.FermionicDoubleExcitation(a[0], [0, 1], [2, 3]),
    "FermionicSingleExcitation": lambda a: qml.FermionicSingleExcitation(a[0], range(3)),
    "FlipSign": lambda a: qml.FlipSign([1, 0, 1], wires=range(3)),
    "GQSP": lambda a: qml.GQSP(qml.RX(0.3, wires=1), _tensor(a, 3, 3), control=0),
    "GateFabric": lambda a: qml.GateFabric(_tensor(a, 1, 1, 2), range(4), [1, 1, 0, 0]),
    "GroverOperator": lambda a: qml.GroverOperator(wires=range(3)),
    "HybridQRAM": lambda a: qml.HybridQRAM(
        ["00", "01", "11", "10"],
        control_wires=[0, 1],
        target_wires=[2, 3],
        work_wires=[4, 5, 6, 7, 8],
        k=1,
    ),
    "IQP": lambda a: qml.IQP(_tensor(a, 2), 3, [[[0]], [[0, 1]]]),
    "IQPEmbedding": lambda a: qml.IQPEmbedding(_tensor(a, 3), wires=range(3)),
    "IntegerComparator": lambda a: qml.IntegerComparator(3, wires=range(4)),
    "MERA": lambda a: qml.MERA(range(4), 2, _block, 2, _tensor(a, 5, 2)),
    "MPS": lambda a: qml.MPS(range(4), 2, _block, 2, _tensor(a, 3, 2)),
    "ModExp": lambda a: qml.ModExp([0], [1, 2], 1, 4, work_wires=[3, 4]),
    "MottonenStatePreparation": lambda a: qml.MottonenStatePreparation(
        np.ones(4) / 2, wires=range(2)
    ),
    "MultiControlledX": lambda a: qml.MultiControlledX(wires=range(6)),
    "MultiplexerStatePreparation": lambda a: qml.MultiplexerStatePreparation(
        np.ones(4) / 2, wires=range(2)
    ),
    "Multiplier": lambda a: qml.Multiplier(3, x_wires=[0, 1], work_wires=[2, 3]),
    "OutAdder": lambda a: qml.OutAdder([0, 1], [2, 3], [4, 5]),
    "OutMultiplier": lambda a: qml.OutMultiplier([0, 1], [2, 3], [4, 5]),
    "OutPoly": lambda a: qml.OutPoly(
        lambda x, y: x + y, input_registers=[[0, 1], [2, 3]], output_wires=[4, 5]
    ),
    "PCPhase": lambda a: qml.PCPhase(a[0], dim=3, wires=range(3)),
    "ParticleConservingU1": lambda a: qml.ParticleConservingU1(_tensor(a, 1, 2, 2), range(3)),
    "ParticleConservingU2": lambda a: qml.ParticleConservingU2(_tensor(a, 1, 5), range(3)),
    "PauliRot": lambda a: qml.PauliRot(a[0], "XYZ", wires=range(3)),
    "Permute": lambda a: qml.Permute([2, 0, 1], wires=range(3)),
    "PhaseAdder": lambda a: qml.PhaseAdder(3, x_wires=range(3)),
    "PrepSelPrep": lambda a: qml.PrepSelPrep(
        qml.dot([0.3, 0.6], [qml.X(1), qml.Z(1) @ qml.Z(2)]), control=0
    ),
    "Projector": lambda a: qml.Projector([0, 1], wires=range(2)),
    "QAOAEmbedding": lambda a: qml.QAOAEmbedding(_tensor(a, 2), _tensor(a, 1, 3), wires=range(2)),
    "QDrift": lambda a: qml.QDrift(H, a[0], n=2, seed=1),
    "QFT": lambda a: qml.QFT(wires=range(3)),
    "QROM": lambda a: qml.QROM(["1", "0"], control_wires=[0], target_wires=[1], work_wires=[2]),
    "QROMStatePreparation": lambda a: qml.QROMStatePreparation(
        np.ones(4) / 2, wires=[0, 1], precision_wires=[2, 3], work_wires=[4]
    ),
    "QSVT": lambda a: qml.QSVT(
        qml.BlockEncode(np.array([[0.1, 0.2], [0.3, 0.4]]), wires=[0, 1]),
        [qml.PCPhase(a[i], dim=2, wires=[0, 1]) for i in range(3)],
    ),
    "QuantumPhaseEstimation": lambda a: qml.QuantumPhaseEstimation(
        qml.RX(a[0], wires=0), estimation_wires=[1, 2]
    ),
    "QubitUnitary": lambda a: qml.QubitUnitary(SWAP_LIKE, wires=range(2)),
    "Qubitization": lambda a: qml.Qubitization(
        qml.dot([0.3, 0.6], [qml.X(1), qml.Z(1) @ qml.Z(2)]), control=0
    ),
    "RandomLayers": lambda a: qml.RandomLayers(_tensor(a, 1, 3), wires=range(3)),
    "Reflection": lambda a: qml.Reflection(qml.prod(qml.Hadamard(0), qml.RX(0.2, wires=1)), a[0]),
    "Select": lambda a: qml.Select([qml.RX(a[0], wires=2), qml.RY(a[1], wires=2)], control=[0]),
    "SelectOnlyQRAM": lambda a: qml.SelectOnlyQRAM(
        ["0", "1"], control_wires=[0], target_wires=[1], select_wires=[], select_value=None
    ),
    "SelectPauliRot": lambda a: qml.SelectPauliRot(
        _tensor(a, 4), control_wires=[0, 1], target_wire=2
    ),
    "SemiAdder": lambda a: qml.SemiAdder([0, 1], [2, 3], work_wires=[4]),
    "SimplifiedTwoDesign": lambda a: qml.SimplifiedTwoDesign(
        _tensor(a, 3), _tensor(a, 1, 2, 2), wires=range(3)
    ),
    "Snapshot": lambda a: qml.Snapshot(),
    "SpecialUnitary": lambda a: qml.SpecialUnitary(_tensor(a, 15), wires=range(2)),
    "StronglyEntanglingLayers": lambda a: qml.StronglyEntanglingLayers(
        _tensor(a, 1, 3, 3), wires=range(3)
    ),
    "SumOfSlatersPrep": lambda a: qml.SumOfSlatersPrep(
        np.array([0.6, 0.8]), wires=range(3), indices=(0, 5)
    ),
    "Superposition": lambda a: qml.Superposition(
        np.array([0.6, 0.8]), [[0, 0], [1, 1]], wires=[0, 1], work_wire=2
    ),
    "TTN": lambda a: qml.TTN(range(4), 2, _block, 2, _tensor(a, 3, 2)),
    "TrotterProduct": lambda a: qml.TrotterProduct(H, a[0], n=2, order=2),
    "TrotterizedQfunc": lambda a: qml.TrotterizedQfunc(
        a[0], a[1], qfunc=lambda time, angle, wires: qml.RX(time * angle, wires=wires[0]), wires=[0]
    ),
    "TwoLocalSwapNetwork": lambda a: qml.TwoLocalSwapNetwork(
        range(3),
        lambda index, wires, param: qml.CRX(param, wires=wires),
        _tensor(a, 3),
        fermionic=False,
    ),
    "UCCSD": lambda a: qml.UCCSD(
        _tensor(a, 2), range(4), [[0, 1, 2]], [[[0, 1], [2, 3]]], np.array([1, 1, 0, 0])
    ),
    "kUpCCGSD": lambda a: qml.kUpCCGSD(
        _tensor(a, 1, 6), range(4), k=1, delta_sz=0, init_state=np.array([1, 1, 0, 0])
    ),
    # Operations that PennyLane makes of others, without a class that it exports.
    "exp": lambda a: qml.exp(qml.X(0) @ qml.Z(1), 1j * a[0]),
    "exp of a sum": lambda a: qml.exp(H, -0.5j * a[0]),
    "evolve": lambda a: qml.evolve(H, a[0]),
    "prod": lambda a: qml.prod(qml.RX(a[0], wires=0), qml.CNOT(wires=[0, 1]), qml.RY(a[1], 1)),
    "change_op_basis": lambda a: qml.change_op_basis(qml.Hadamard(0), qml.RZ(a[0], wires=0)),
    "s_prod": lambda a: qml.s_prod(1j, qml.X(0)),
    "sum": lambda a: qml.sum(qml.s_prod(0.6, qml.X(0)), qml.s_prod(0.8, qml.Z(0))),
}


def names():
    """The names of all operations."""
    return sorted({*classes(), *RECIPES} - {n for n in classes() if n not in RECIPES and unmade(n)})


def unmade(name):
    """True if a class is excluded."""
    return name in EXCLUDED or is_excluded(classes()[name])


def make(name, a):
    """The operation of a name with angles."""
    if name in RECIPES:
        return RECIPES[name](a)
    cls = classes()[name]
    n_wires = cls.num_wires if isinstance(cls.num_wires, int) else 3
    return cls(*a[: cls.num_params], wires=range(n_wires))


VARIANTS = {
    "plain": lambda name, a: make(name, a),
    "adjoint": lambda name, a: qml.adjoint(make(name, a)),
    "controlled": lambda name, a: qml.ctrl(make(name, a), control=N_WIRES),
    "controlled by three": lambda name, a: qml.ctrl(
        make(name, a), control=range(N_WIRES, N_WIRES + 3), control_values=[1, 0, 1]
    ),
    "squared": lambda name, a: qml.pow(make(name, a), 2),
    "root": lambda name, a: qml.pow(make(name, a), 0.5),
    "inverse": lambda name, a: qml.pow(make(name, a), -1),
}
