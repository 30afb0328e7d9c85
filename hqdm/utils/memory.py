"""Refusal of sizes that do not fit into memory, before anything is allocated."""

import os
from pathlib import Path

from hqdm.utils.errors import HQDMError

_MEMINFO = Path("/proc/meminfo")
_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_PAGES = Path("/proc/self/statm")
PROCESS_BYTES = 300 * 2**20  # of a process that has imported torch, Lightning and Numba
UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


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


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
