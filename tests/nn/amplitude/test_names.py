"""Names that a fresh process finds, without what it does not need."""

import subprocess
import sys

CODE = """
import sys
from hqdm.nn.network import NETWORKS
from hqdm.nn.quantum_conv import CONVOLUTIONS

assert "QUNet" in NETWORKS
assert "QuantumConv2d" in CONVOLUTIONS
print("pennylane" in sys.modules)
network = NETWORKS["QUNet"](size=8, widths=(2,), n_layers=1)
print(type(network.encoder[0][0]).__module__)
"""


def test_networks_and_convolutions_are_found_by_name():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "hqdm.nn.amplitude.convolution"]
