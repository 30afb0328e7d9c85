"""Check and measure hqdm on one NVIDIA GPU, in at most 8 minutes and without the network.

    python benchmarks/gpu.py [--only PART] [--resume] [--seconds 480] [--out FOLDER]
    python benchmarks/gpu.py --device cpu --quick      # a dry run with tiny sizes

Parts: correctness of simulators, networks and samplers against the CPU; the experimental CUDA
kernels; training steps; `torch.compile`; sampling; training on MNIST for the rest of the time, with
scores. Each runs in a process of its own, so that an error of the device ends only that part, and
within a limit. Results are in `gpu.json` after each measurement, and in `gpu.md` at the end.

The exit code is 0, 1 if a part failed, or 2 if there is no such device.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import torch
from device.budget import PARTS, Part, seconds_for
from device.context import Context
from device.machine import all_versions, device_facts
from device.record import Record, one_line, tables
from rich.console import Console

from hqdm.utils.files import write_file
from hqdm.utils.versions import git_state

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SECONDS = 480.0
FOR_TABLES = 5.0  # seconds
WIDTH = 150  # of the tables in a file
NAMES = [part.name for part in PARTS]


def options_of(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--quick", action="store_true", help="tiny sizes, as a test")
    parser.add_argument("--only", choices=NAMES, action="append", help="a part; may be repeated")
    parser.add_argument("--resume", action="store_true", help="keep the parts that are complete")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of the whole run (480)")
    parser.add_argument("--started", type=float, help="seconds since 1970 at which they began")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commit", help="recorded in place of that of this folder")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results; a new one if quick")
    parser.add_argument("--part", choices=NAMES, help=argparse.SUPPRESS)  # a process of a part
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = options_of(argv)
    if options.device == "cuda" and not torch.cuda.is_available():
        print(
            f"error: torch {torch.__version__} finds no CUDA device here: run on a machine with an "
            "NVIDIA GPU, or --device cpu --quick as a dry run",
            file=sys.stderr,
        )
        return 2
    if options.out is None:
        options.out = Path(tempfile.mkdtemp(prefix="hqdm_gpu_")) if options.quick else RESULTS
    if options.part:
        return run_part(options)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # ends the part, too
    return run_parts(options)


def commit() -> str:
    """The commit of this folder."""
    state = git_state()
    if state is None:
        return "unknown"
    return f"{state['commit']}{' with changes' if state['dirty'] else ''}"


def run_parts(options: argparse.Namespace) -> int:
    """Run the parts one after another, and write the tables."""
    began = time.monotonic() - max(0.0, time.time() - (options.started or time.time()))
    end = began + options.seconds - FOR_TABLES
    device = torch.device(options.device, 0 if options.device == "cuda" else None)
    settings = {
        "device": device_facts(device),
        "versions": all_versions(),
        "commit": options.commit or commit(),
        "seed": options.seed,
        "quick": options.quick,
        "seconds": options.seconds,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    record = Record.start(options.out / "gpu.json", settings, options.resume)
    console = Console(log_path=False, width=None if sys.stdout.isatty() else WIDTH)
    wanted = [part for part in PARTS if part.name in (options.only or NAMES)]
    todo = [part for part in wanted if record.part(part.name) is None]
    for place, part in enumerate(todo):
        seconds = seconds_for(part, end - time.monotonic(), todo[place + 1 :])
        console.log(f"{part.name}, at most {seconds:.0f} seconds")
        record = start_part(record, part, seconds, device, options)
        state = record.part(part.name) or {}
        console.log(f"{part.name}: {state['state']} {state.get('reason', '')}", markup=False)
    sheets = list(tables(record))
    write_file(options.out / "gpu.md", "\n".join(sheet.markdown() for sheet in sheets))
    for sheet in sheets:
        console.print(sheet.rich(), crop=False)
    print(f"wrote {options.out / 'gpu.json'}, {options.out / 'gpu.md'}")
    return int(record.failed)


def start_part(
    record: Record, part: Part, seconds: float, device: torch.device, options: argparse.Namespace
) -> Record:
    """Run a part in a process, which is ended at the limit; returns the record with its results."""
    module = import_module(f"device.{part.name}")
    reason = module.skipped(device) if hasattr(module, "skipped") else None
    record.begin(part.name)
    if reason is not None or not seconds:
        record.end(part.name, 0.0, reason or "no time left", skipped=reason is not None)
        return record
    command = [sys.executable, __file__, "--part", part.name, "--device", options.device]
    command += ["--seconds", str(seconds), "--seed", str(options.seed), "--out", str(options.out)]
    command += ["--quick"] if options.quick else []
    started = time.monotonic()
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            code, reason = process.wait(seconds), None
        except subprocess.TimeoutExpired:
            code, reason = None, f"the limit of {seconds:.0f} seconds was reached"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    record = Record.read(record.file)
    if code:
        rows = record.part(part.name) or {}
        reason = rows.get("reason", f"the process ended with code {code}")
    record.end(part.name, time.monotonic() - started, reason)
    return record


def run_part(options: argparse.Namespace) -> int:
    """Run a part in this process, and save each of its results."""
    record = Record.read(options.out / "gpu.json")
    context = Context(
        device=torch.device(options.device, 0 if options.device == "cuda" else None),
        quick=options.quick,
        seed=options.seed,
        deadline=time.monotonic() + options.seconds,
    )
    try:
        for row in import_module(f"device.{options.part}").run(context):
            record.add(options.part, row)
    except Exception as error:  # of the part itself, such as a missing package
        record.contents["parts"][options.part]["reason"] = one_line(error)
        record.save()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
