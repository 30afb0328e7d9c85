"""The analysis of a Carleman sampler as tables, as Markdown and as a plot."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hqdm.surrogate.analysis import SHOTS
from hqdm.surrogate.report_files import ReportFiles
from hqdm.surrogate.sampler import CLOSURES
from hqdm.utils.tables import Page, Sheet, figure, percent

SHOWN_SHOTS = 10**4


def sheets(report: dict[str, Any]) -> list[Sheet]:
    """The report as tables."""
    return [
        *(truncation_sheet(report, closure) for closure in CLOSURES),
        errors_sheet(report),
        chain_sheet(report),
        energy_sheet(report),
        *(account_sheet(report, name) for name in ("qlss", "lchs")),
        segments_sheet(report),
    ]


def spread_cells(found: dict[str, Any]) -> tuple[str, str]:
    """The cells of a median and a quantile."""
    return percent(found["median"]), percent(found["q95"])


def truncation_sheet(report: dict[str, Any], closure: str) -> Sheet:
    """Truncation errors of a closure: one row per order, one column per number of segments."""
    own = [cell for cell in report["truncation"] if cell["closure"] == closure]
    counts = report["options"]["segments"]
    rows = []
    for order in report["options"]["orders"]:
        cells = [cell for cell in own if cell["order"] == order]
        shown = ("refused" if "refused" in c else "{} ({})".format(*spread_cells(c)) for c in cells)
        rows.append((str(order), *shown))
    title = f"truncation error, closure {closure}: median (95 %)"
    return Sheet(title, ("order", *(f"{count} segments" for count in counts)), rows)


def parts_of(report: dict[str, Any], shots: Sequence[int]) -> list[tuple[str, dict[str, Any]]]:
    """The separate errors and the total error, by name, without refused parts."""
    finest = max(report["chain"], key=lambda row: row["segments"])
    qlss, lchs = report["backends"]["qlss"], report["backends"]["lchs"]
    read = [row for row in report["shots"]["errors"] if row["shots"] in shots]
    named = [
        ("polynomial fit", report["polynomial"]),
        ("truncation", finest["truncation"]),
        ("time step", finest["time_step"]),
        ("inverse polynomial (QLSS)", qlss.get("inverse_polynomial")),
        ("Taylor series (QLSS)", qlss.get("taylor")),
        ("quadrature (LCHS)", lchs.get("quadrature")),
        *((f"{row['shots']:,} shots", row) for row in read),
        ("total, against the network", finest["total"]),
    ]
    return [(name, found) for name, found in named if found is not None]


def errors_sheet(report: dict[str, Any]) -> Sheet:
    """The table of all errors."""
    options = report["options"]
    title = (
        f"separate errors: order {options['order']}, {max(options['segments'])} segments, closure "
        f"{options['closure']}, basis {options['basis']}"
    )
    rows = [(name, *spread_cells(found)) for name, found in parts_of(report, SHOTS)]
    return Sheet(title, ("error", "median", "95 %"), rows)


def chain_sheet(report: dict[str, Any]) -> Sheet:
    """The table of errors between consecutive approximations, by number of segments."""
    links = ("truncation", "time_step", "carleman", "total")
    rows = [
        (str(row["segments"]), *("{} ({})".format(*spread_cells(row[link])) for link in links))
        for row in report["chain"]
    ]
    columns = ("segments", "truncation", "time step", "both", "total, against the network")
    return Sheet("errors by number of segments: median (95 %)", columns, rows)


def energy_sheet(report: dict[str, Any]) -> Sheet:
    """The table of energy distances."""
    names = {
        "carleman": "Carleman sampler",
        "polynomial": "polynomial equation",
        "network": f"network's flow ({report['options']['network_n']} initial values)",
        "gaussian": "Gaussian of the data's covariance",
        "real": "real against real",
    }
    rows = [
        (name, "diverges" if (value := report["energy"][key]) is None else f"{value:.4f}")
        for key, name in names.items()
    ]
    title = "energy distance to the data's latents, noised to the last lambda"
    return Sheet(title, ("samples", "energy distance"), rows)


ACCOUNTS = {
    "qlss": {
        "size": "unknowns",
        "order": "Taylor order",
        "kappa": "condition number",
        "degree": "degree of the inverse polynomial",
        "queries": "queries per run",
        "polynomial_error": "error of the inverse polynomial",
        "success_probability": "success probability",
        "repetitions": "expected runs until success",
        "amplified_repetitions": "runs with amplitude amplification",
        "qubits": "qubits",
    },
    "lchs": {
        "kernel": "kernel",
        "cutoff": "largest node K",
        "n_unitaries": "nodes",
        "one_norm": "sum of |c|",
        "shift": "shift",
        "success_probability": "success probability",
        "repetitions": "expected runs until success",
        "amplified_repetitions": "runs with amplitude amplification",
        "evolution": "time times norm of the longest simulation",
    },
}


def account_sheet(report: dict[str, Any], name: str) -> Sheet:
    """The table of the costs of a quantum solver on its segment."""
    found, segment = report["backends"][name], report["backends"]["segment"]
    title = (
        f"{name.upper()} on segment {segment['number']} of {segment['of']}, "
        f"lambda {segment['from']:.2f} to {segment['to']:.2f}"
    )
    if "refused" in found:
        return Sheet(title, ("refused",), [(found["refused"],)])
    account = found["account"]
    rows = [
        (label, value if isinstance(value := account[key], str) else figure(value))
        for key, label in ACCOUNTS[name].items()
    ]
    return Sheet(title, ("quantity", "value"), rows)


def segments_sheet(report: dict[str, Any]) -> Sheet:
    """The table of the properties of all segments."""
    columns = {
        "from": "from",
        "linear_abscissa": "Re F1",
        "abscissa": "Re A",
        "log_norm": "log norm",
        "norm_1": "1-norm",
    }
    rows = []
    for i, row in enumerate(report["segments"], start=1):
        shown = [row[key] for key in columns]
        shown += [row["history"].get("kappa")]
        shown += [row[key].get("value") for key in ("r_number", "liu_bound")]
        rows.append((str(i), *(figure(value, 2) for value in shown)))
    title = (
        f"segments up to lambda {figure(report['fit']['last_lambda'], 2)}, at their midpoints: "
        "spectral abscissas of F1 and of the lifted A, norms, condition number of the block system"
    )
    return Sheet(title, ("#", *columns.values(), "kappa", "R", "Liu"), rows)


def notes(report: dict[str, Any]) -> list[str]:
    """Notes on the errors of x that follow from those of lifted states, and all refusals."""
    held = [*report["truncation"], report["backends"]["qlss"], report["backends"]["lchs"]]
    for row in report["segments"]:
        held += [row["history"], row["r_number"], row["liu_bound"]]
    share = report["shots"]["share"]
    reading = (
        f"measured is the lifted state y, with |x|^2 = {percent(share)} of |y|^2: errors relative "
        f"to x are up to {figure(share**-0.5, 2)} times as large"
    )
    return [reading, *dict.fromkeys(part["refused"] for part in held if "refused" in part)]


def page(report: dict[str, Any]) -> Page:
    """The report as tables and notes."""
    return Page(sheets(report), {"": notes(report)})


def save_plot(report: dict[str, Any], path: Path) -> None:
    """Plot truncation errors against segments, and all errors."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_truncation(report, left)
    draw_errors(report, right)
    figure.savefig(path, dpi=120)


def draw_truncation(report: dict[str, Any], axes: Any) -> None:
    """Plot one line per order; dashed for the closure that drops monomials."""
    for place, order in enumerate(report["options"]["orders"]):
        for closure, style in zip(CLOSURES, ("o-", "o--"), strict=True):
            cells = [
                (cell["segments"], cell["median"])
                for cell in report["truncation"]
                if (cell["closure"], cell["order"]) == (closure, order) and cell.get("median")
            ]
            if cells:
                label = f"order {order}" + ("" if closure == "least_squares" else ", drop")
                axes.plot(*zip(*cells, strict=True), style, color=f"C{place}", label=label, ms=4)
    counts = report["options"]["segments"]
    axes.set(xscale="log", yscale="log", xlabel="segments", title="truncation, median")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.set_ylabel("relative error")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, ncols=2)


def draw_errors(report: dict[str, Any], axes: Any) -> None:
    """Plot one bar per error: its median, with a line to the 95 % quantile."""
    shown = [(name, found) for name, found in parts_of(report, (SHOWN_SHOTS,)) if found["median"]]
    for place, (name, found) in enumerate(reversed(shown)):
        median, high = found["median"], found["q95"] or found["median"]
        axes.barh(place, median, color="C3" if name.startswith("total") else "C0", alpha=0.8)
        axes.plot([median, high], [place, place], color="black", lw=1)
        axes.annotate(
            percent(median),
            (high, place),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set_yticks(range(len(shown)), [name for name, _ in reversed(shown)])
    axes.set(
        xscale="log", xlabel="relative error", title="separate errors, median and 95 % quantile"
    )
    axes.set_xlim(right=axes.get_xlim()[1] * 30)
    axes.grid(alpha=0.3, axis="x")


ANALYSIS = ReportFiles("analysis", page, save_plot)
