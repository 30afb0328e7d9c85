"""The resources of a Carleman sampler as tables, as Markdown and as a plot."""

from pathlib import Path
from typing import Any

from hqdm.carleman.costs.resources import ACCESS, METHODS
from hqdm.surrogate.report_files import ReportFiles
from hqdm.utils.pictures import save_figure
from hqdm.utils.tables import Page, Sheet, figure

LABELS = {
    "qlss": "QLSS",
    "reflection": "Reflection",
    "lchs": "LCHS",
    "schrodingerisation": "Schrödinger",
}
CLASSICAL = {"direct": "direct", "lifted": "lifted map", "original": "network"}


def sheets(report: dict[str, Any]) -> list[Sheet]:
    """The report as tables."""
    largest = report["cases"][-1]["dim"]
    middle = report["orders"][0]["d"] if report["orders"] else largest
    return [
        *(method_sheet(report, method) for method in METHODS),
        *(cost_sheet(report, access) for access in ACCESS),
        change_sheet(report["orders"], "N", f"truncation orders at d = {middle}"),
        change_sheet(report["tolerances"], "eps", f"tolerances at d = {largest}"),
        change_sheet(report["times"], "factor", f"longer evolutions, at d = {largest}"),
        laws_sheet(report),
        circuit_sheet(report),
    ]


def dimension(row: dict[str, Any]) -> str:
    """The dimension of a row, with a star for an extrapolated row."""
    return figure(float(row["d"]), 6) + ("" if row["measured"] else " *")


def method_sheet(report: dict[str, Any], method: str) -> Sheet:
    """The table of the resources of one method, by dimension."""
    options = report["options"]
    columns = {
        "qubits": "qubits",
        "queries": "queries",
        "success_probability": "success",
        "runs": "runs",
        "states": "states",
    }
    keys = ["lifted", *(f"{method}_{name}" for name in columns)]
    rows = [(dimension(row), *(figure(row[key]) for key in keys)) for row in report["rows"]]
    title = (
        f"{LABELS[method]} at degree {options['degree']}, N = {options['order']}, tolerance "
        f"{options['tolerance']:g}: queries per run, runs per state, states per sample"
    )
    return Sheet(title, ("d", "lifted", *columns.values()), rows)


def cost_columns(access: str) -> dict[str, str]:
    """The names of the costs of a row, by key."""
    quantum = {f"{method}_{access}_gates": LABELS[method] for method in METHODS}
    return quantum | {f"classical_{key}": name for key, name in CLASSICAL.items()}


def cost_sheet(report: dict[str, Any], access: str) -> Sheet:
    """The table of gates, for one cost model of a query, and floating point operations."""
    columns = cost_columns(access)
    rows = [(dimension(row), *(figure(row[key], 2) for key in columns)) for row in report["rows"]]
    title = f"gates per sample, {access}, and classical floating-point operations"
    return Sheet(title, ("d", *columns.values()), rows)


def change_sheet(rows: list[dict[str, Any]], key: str, title: str) -> Sheet:
    """The table of oracle gates and operations against a parameter other than the dimension."""
    columns = cost_columns("oracle")
    cells = [(f"{row[key]:g}", *(figure(row[name], 2) for name in columns)) for row in rows]
    return Sheet(title, (key, *columns.values()), cells)


def laws_sheet(report: dict[str, Any]) -> Sheet:
    """The table of the power laws."""
    rows = [
        (
            name.replace("_", " "),
            *(f"{round(law[key], 3) + 0.0:g}" for key in ("factor", "exponent", "spread")),
        )
        for name, law in report["laws"].items()
    ]
    title = "power laws: factor d^exponent, and the largest |log error| of a measurement"
    return Sheet(title, ("quantity", "factor", "exponent", "spread"), rows)


def circuit_sheet(report: dict[str, Any]) -> Sheet:
    """The table of the executable circuit."""
    found = report["circuit"]
    if "refused" in found:
        return Sheet("executable circuit", ("refused",), [(found["refused"],)])
    title = (
        f"executable circuit: LCHS, d = {found['dim']}, N = {found['order']}, "
        f"{found['product_formula']['steps']} steps of a product formula"
    )
    rows = [(key.replace("_", " "), figure(found[key])) for key in ("qubits", "error")]
    rows.append(("success probability", figure(found["success_probability"])))
    rows += [(f"{gate} gates", figure(count)) for gate, count in found["gates"].items()]
    return Sheet(title, ("quantity", "value"), rows)


def findings(report: dict[str, Any]) -> list[str]:
    """Notes on the measurements, and the dimensions from which quantum algorithms cost less."""
    segment, network, largest = report["segment"], report["network"], report["rows"][-1]["d"]
    lines = [
        f"measured on segment {segment['number']} of {segment['of']}, lambda "
        f"{segment['from']:.2f} to {segment['to']:.2f}; rows with * are extrapolated by power laws",
        f"Runge-Kutta steps per segment: {report['steps']}; operations per evaluation of the "
        f"network on {network['pixels']:,} pixels: {figure(float(network['flops']))}",
        "dimensions from which a quantum algorithm costs less, if a gate is as fast as a "
        "floating-point operation:",
    ]
    for method, by_access in report["crossings"].items():
        for access, found in by_access.items():
            lines.append(f"{LABELS[method]}, {access}: {crossing_line(found, largest)}")
    return lines


def crossing_line(found: dict[str, int | None], largest: int) -> str:
    """The crossings with all classical methods, and with the integration of the polynomial."""
    if found["all"] is not None:
        return f"cheaper than every classical method from d = {found['all']:,} on"
    missing = f"no crossing up to d = {largest:,}"
    if found["direct"] is None:
        return missing
    return f"{missing}; cheaper than integrating the polynomial from d = {found['direct']:,} on"


def page(report: dict[str, Any]) -> Page:
    """The report as tables, findings and assumptions."""
    lists = {"": findings(report), "Assumptions:": report["assumptions"]}
    return Page(sheets(report), lists)


def save_plot(report: dict[str, Any], path: Path) -> None:
    """Plot gates and operations against d: solid for measured, dashed for extrapolated values."""
    from matplotlib.figure import Figure  # slow to import

    picture = Figure(figsize=(8, 5), layout="constrained")
    axes = picture.subplots()
    for place, (key, name) in enumerate(cost_columns("oracle").items()):
        rows = [row for row in report["rows"] if row[key] is not None]
        # the network was measured only at the size of its images; its cost is proportional to d
        known = [row for row in rows if row["measured"] and key != "classical_original"]
        style = ("s" if key.startswith("classical") else "o") + "{}"
        for part, line in ((rows, "--"), (known, "-")):
            axes.plot(
                [row["d"] for row in part],
                [row[key] for row in part],
                style.format(line),
                color=f"C{place}",
                label=name if line == "--" else None,
                ms=4,
            )
    axes.set(xscale="log", yscale="log", xlabel="latent dimension d")
    axes.set_ylabel("gates (one per query) or floating-point operations per sample")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, title="solid: measured, dashed: extrapolated", title_fontsize=8)
    save_figure(picture, path)


RESOURCES = ReportFiles("resources", page, save_plot)
