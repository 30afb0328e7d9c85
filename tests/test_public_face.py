"""What `import hqdm` offers: every name, once, with its types."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import hqdm

PACKAGE = Path(hqdm.__file__).parent
UNNEEDED = {
    *("datasets", "jsonargparse", "lightning", "matplotlib", "pennylane"),
    *("torch._dynamo", "torchmetrics"),
}


def typed_imports():
    """The names that a type checker sees, with their modules."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    return {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("hqdm.")
        for alias in node.names
        if alias.name not in ("VERSION", "loader")
    }


def test_every_name_is_there_and_typed():
    names = set(hqdm.__all__) - {"__version__"}
    home = {name: module for module, names in hqdm._MODULES.items() for name in names}
    assert names == set(typed_imports()) == set(home)
    assert len(hqdm.__all__) == len(set(hqdm.__all__))
    for name, module in typed_imports().items():
        assert home[name] == module
        value = getattr(hqdm, name)
        assert value is getattr(import_module(module), name)
        assert getattr(value, "__module__", module) == module, f"{name} is defined elsewhere"
    assert set(hqdm.__all__) <= set(dir(hqdm))


def test_every_register_function_is_public():
    kinds = (
        *("network", "ansatz", "convolution", "sampler", "schedule", "objective", "extractor"),
        "data",
    )
    assert {f"register_{kind}" for kind in kinds} <= set(hqdm.__all__)


@pytest.mark.slow  # mypy reads torch
def test_a_script_s_types_are_checked(tmp_path):
    """mypy, strict, on a user's script: a right one passes, a wrong argument is found."""
    assert (PACKAGE / "py.typed").exists()
    script = tmp_path / "script.py"
    right = (
        "from hqdm import DDIM, Pipeline, QuantumLayer, UNet\n"
        "sampler: DDIM = DDIM(5)\n"
        "images = Pipeline.from_pretrained('runs/x')(n=2, sampler=sampler).images\n"
        "reveal_type(images)\n"
        "network = UNet(size=8)\n"
    )
    script.write_text(f"{right}UNet(size='eight')\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", str(script)]
    found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    own = [line for line in found.stdout.splitlines() if line.startswith("script.py")]
    assert len(own) == 2, found.stdout
    assert 'Revealed type is "torch._tensor.Tensor"' in own[0].replace(
        "torch.Tensor", "torch._tensor.Tensor"
    )
    assert 'incompatible type "str"; expected "int"' in own[1]


def test_the_command_line_starts_without_torch():
    code = "import sys, hqdm.cli.main; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_images_of_a_classical_model_do_not_load_what_they_do_not_need(tmp_path):
    """Each of these takes a fresh process up to a second to import."""
    code = (
        "import sys; from hqdm.cli.main import main; code = main(sys.argv[1:]); "
        "print(' '.join(sys.modules)); sys.exit(code)"
    )
    options = ["--checkpoint", "mnist", "--n", "1", "--steps", "1", "--out", str(tmp_path)]
    command = [sys.executable, "-c", code, "sample", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert {"torch", "hqdm.nn.unet"} < loaded
    assert not loaded & UNNEEDED
