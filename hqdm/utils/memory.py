"""Memory: sizes that do not fit are refused, and copies to and from a GPU do not wait for it.

A copy between pageable memory and a GPU waits until the GPU has done all the work in its queue,
which is then empty while the host prepares the next step.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from hqdm.utils.errors import HQDMError

if TYPE_CHECKING:
    import torch

_MEMINFO = Path("/proc/meminfo")
_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_PAGES = Path("/proc/self/statm")
PROCESS_BYTES = 300 * 2**20  # of a process that has imported torch, Lightning and Numba
UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
QUEUED = ("cuda",)
"""Types of devices whose work is queued, and which copy from and to pinned memory meanwhile."""


def available_bytes() -> int:
    """Memory that can be allocated now: of the system, its container or this process (ulimit)."""
    limits = [int(text) for path in _CGROUP_LIMITS if (text := _text(path).strip()).isdigit()]
    for line in _text(_MEMINFO).splitlines():
        if line.startswith("MemAvailable:"):
            limits.append(1024 * int(line.split()[1]))
    limits += _process_limits()
    return min([*limits, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")])


def _process_limits() -> list[int]:
    """The rest of this process's address space, if it has a limit."""
    try:
        import resource
    except ImportError:  # not on Windows
        return []
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return []
    used = _text(_PAGES).split()
    return [max(0, limit - (int(used[0]) if used else 0) * resource.getpagesize())]


def check_memory(what: str, n_bytes: float, advice: str) -> None:
    """Refuse an allocation that is larger than the available memory.

    Args:
        what: The subject of the message, such as `"10 images of size 8"`.
        n_bytes: Size of the allocation.
        advice: What the user can do, such as `"use a smaller size"`.

    Raises:
        HQDMError: If it does not fit.
    """
    available = available_bytes()
    if n_bytes > available:
        raise HQDMError(
            f"{what} would take {in_units(n_bytes)} of memory, {in_units(available)} are "
            f"available: {advice}"
        )


def check_processes(n: int) -> None:
    """Refuse more processes on this machine than fit into memory, even without any data.

    Raises:
        HQDMError: If they do not fit.
    """
    check_memory(f"{n:,} processes", n * PROCESS_BYTES, "use fewer")


def in_units(n_bytes: float) -> str:
    """A number of bytes with a unit, such as `"1.5 GiB"`."""
    power = min(max(int(n_bytes).bit_length() - 1, 0) // 10, len(UNITS) - 1)
    value = n_bytes / 1024**power
    return f"{value:.0f} {UNITS[power]}" if value >= 100 else f"{value:.3g} {UNITS[power]}"


def to_device(
    tensor: "torch.Tensor", device: "torch.device", dtype: "torch.dtype | None" = None
) -> "torch.Tensor":
    """A tensor on a device; a copy from the CPU to a GPU does not wait for it.

    Args:
        tensor: The tensor.
        device: The device.
        dtype: The dtype of the result; None is that of the tensor.
    """
    tensor = tensor.to(dtype=dtype or tensor.dtype)
    if tensor.device.type == "cpu" and device.type in QUEUED:
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class Arriving:
    """A copy of a tensor on its way to the CPU, which the host can read later.

    Args:
        tensor: The tensor.
    """

    def __init__(self, tensor: "torch.Tensor") -> None:
        queued = tensor.device.type in QUEUED
        self._copy = tensor.detach().to("cpu", non_blocking=queued)  # to pinned memory
        self._copied = _event(tensor.device) if queued else None

    def get(self) -> "torch.Tensor":
        """The copy; waits for the work that was queued before it, but for no later work."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._copy


def _event(device: "torch.device") -> "torch.cuda.Event":
    """An event after the work queued so far."""
    import torch

    return torch.cuda.current_stream(device).record_event()


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
