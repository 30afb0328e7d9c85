"""Simulators, which run several circuits of one kind on a batch of inputs.

They are loaded when they are first asked for: PennyLane is slow to import, and the kernels of
classical networks do not need it.
"""

from typing import TYPE_CHECKING

from hqdm.utils import loader

if TYPE_CHECKING:
    from hqdm.simulators.auto import AutoSimulator, Choice, choose
    from hqdm.simulators.compiled.cpu import CompiledSimulator
    from hqdm.simulators.costs import Work
    from hqdm.simulators.pennylane import PennyLaneSimulator
    from hqdm.simulators.program.base import Simulator
    from hqdm.simulators.program.statevector import StatevectorSimulator
    from hqdm.simulators.resolve import resolve_simulator
    from hqdm.simulators.unitary import UnitarySimulator

__getattr__ = loader(
    __name__,
    {
        "hqdm.simulators.auto": (
            "AutoSimulator",
            "Choice",
            "choose",
        ),
        "hqdm.simulators.compiled.cpu": ("CompiledSimulator",),
        "hqdm.simulators.costs": ("Work",),
        "hqdm.simulators.pennylane": ("PennyLaneSimulator",),
        "hqdm.simulators.program.base": ("Simulator",),
        "hqdm.simulators.program.statevector": ("StatevectorSimulator",),
        "hqdm.simulators.resolve": ("resolve_simulator",),
        "hqdm.simulators.unitary": ("UnitarySimulator",),
    },
)

__all__ = [
    "AutoSimulator",
    "Choice",
    "CompiledSimulator",
    "PennyLaneSimulator",
    "Simulator",
    "StatevectorSimulator",
    "UnitarySimulator",
    "Work",
    "choose",
    "resolve_simulator",
]
