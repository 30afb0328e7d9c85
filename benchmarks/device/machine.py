"""The device, its driver and the versions."""

import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from hqdm.utils.versions import versions

QUERY = ("driver_version", "memory.total", "power.limit", "mig.mode.current")


def device_facts(device: torch.device) -> dict[str, Any]:
    """The device: for a GPU its name, memory, capability and what `nvidia-smi` knows."""
    if device.type != "cuda":
        return {"name": "CPU, a dry run", "threads": torch.get_num_threads()}
    facts = torch.cuda.get_device_properties(device)
    return {
        "name": facts.name,
        "memory_bytes": facts.total_memory,
        "multiprocessors": facts.multi_processor_count,
        "capability": f"{facts.major}.{facts.minor}",
        **_from_driver(),
    }


def _from_driver() -> dict[str, str]:
    """Driver, memory, power limit and MIG mode; none of them without `nvidia-smi`."""
    command = ["nvidia-smi", f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader", "--id=0"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    values = [value.strip() for value in done.stdout.strip().splitlines()[0].split(",")]
    names = ("driver", "memory", "power_limit", "mig")
    return dict(zip(names, values, strict=False))


def all_versions() -> dict[str, str]:
    """The versions of the packages, and of CUDA and cuDNN as torch was built."""
    found = versions()
    for name in ("numba", "numba-cuda", "triton", "torchmetrics"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    found["cuda"] = str(torch.version.cuda or "none")
    found["cudnn"] = str(torch.backends.cudnn.version() or "none")
    return found
