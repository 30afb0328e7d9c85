"""Names of networks, convolutions and samplers in a fresh process, which has imported no room."""

import subprocess
import sys

import pytest

CODE = """
import sys
from hqdm.nn.network import NETWORKS
from hqdm.nn.quantum_conv import CONVOLUTIONS
from hqdm.samplers import SAMPLERS

names = "QDense", "QUNet", "USS", "BestUnitary", "FullyConnected", "DeepConv", "SmallUNet"
print(*(name in NETWORKS for name in names))
print("QuantumConv2d" in CONVOLUTIONS, "iterate" in SAMPLERS, "uss" in SAMPLERS)
print("pennylane" in sys.modules)
network = NETWORKS["QUNet"](size=8, widths=(2,), n_layers=1)
print(type(network.encoder[0][0]).__module__)
"""


@pytest.mark.slow
def test_names_are_found_without_pennylane():
    """By the entry points of the installed package, which the first unknown name loads."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    networks, others, pennylane, module = done.stdout.splitlines()
    assert set(networks.split()) == set(others.split()) == {"True"}
    assert pennylane == "False"
    assert module == "hqdm.nn.amplitude.convolution"
