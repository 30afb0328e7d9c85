"""Benchmark of the simulators: other libraries, a training step, scaling.

    python benchmarks/simulators.py [--quick] [--only peers|step|scaling] [--out FOLDER]

Writes `simulators.json`, `simulators.md` and a plot of the scaling after each section, so that an
interrupted run keeps its measurements. The other libraries are first installed into `.venv-bench`
(see `install_peers.py`). `OMP_NUM_THREADS` is the number of threads of each contestant.
"""

import argparse
import json
import os
import platform
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from install_peers import ROOT, install_peers
from rich.console import Console
from speed import peers, report, scaling, step
from speed.contestants import CONTESTANTS
from speed.settings import SEED, Settings

RESULTS = ROOT / "benchmarks" / "results"
PLOT = ROOT / "docs" / "images" / "scaling.png"
PACKAGES = ("hqdm", "torch", "numpy", "numba", "pennylane")


def machine(settings: Settings) -> dict[str, Any]:
    """Machine, versions and seed of the measurements."""
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": settings.threads,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES},
        "date": date.today().isoformat(),
        "seed": SEED,
    }


def cpu_name() -> str:
    """The name of the processor, if the system provides it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"


class Results:
    """The results of all sections so far.

    Args:
        folder: Where to write them; None to write nothing. Existing sections are kept until
            they are measured again.
        settings: The settings of the run.
    """

    def __init__(self, folder: Path | None, settings: Settings) -> None:
        self.folder = folder
        self.settings = settings
        self.sections: dict[str, Any] = {}
        if folder and (folder / "simulators.json").exists():
            self.sections = json.loads((folder / "simulators.json").read_text())

    def save(self, name: str, section: dict[str, Any]) -> None:
        """Store and write a section, possibly incomplete."""
        self.sections[name] = {"machine": machine(self.settings), **section}
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)
            text = json.dumps(self.sections, indent=1) + "\n"
            (self.folder / "simulators.json").write_text(text)
            (self.folder / "simulators.md").write_text(report.markdown(self.sections))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes, as a test")
    parser.add_argument("--only", choices=report.SECTIONS, action="append", help="a section")
    parser.add_argument("--contestants", choices=CONTESTANTS, nargs="+", default=list(CONTESTANTS))
    parser.add_argument("--out", type=Path, help="default: benchmarks/results, none with --quick")
    options = parser.parse_args()

    settings = Settings(options.quick, torch.get_num_threads(), tuple(options.contestants))
    folder = options.out or (None if options.quick else RESULTS)
    results = Results(folder, settings)
    console = Console(log_path=False)
    console.log(f"{settings.threads} threads each")
    for name in options.only or report.SECTIONS:
        measure(name, results, console)
        for table in report.SECTIONS[name](results.sections[name]):
            table.print(console)
    if folder and "scaling" in results.sections:
        path = PLOT if folder == RESULTS else folder / "scaling.png"
        report.plot(results.sections["scaling"], path)


def measure(name: str, results: Results, console: Console) -> None:
    """Measure one section."""
    settings = results.settings

    def save(section: dict[str, Any]) -> None:
        results.save(name, section)

    if name == "peers":
        console.log("installing the other libraries")
        peers.run(settings, install_peers(settings.contestants), console.log, save)
    elif name == "step":
        step.run(settings, console.log, save)
    else:
        scaling.run(settings, console.log, save)


if __name__ == "__main__":
    main()
