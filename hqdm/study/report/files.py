"""The files of the report of a study.

    FOLDER/report/report.md            for the terminal and Markdown
    FOLDER/report/report.tex           the same in LaTeX
    FOLDER/report/differences.png      differences of the pairs with their intervals, a panel for
                                       each data set and score
    FOLDER/report/curves_DATA.png      learning curves: geometric means over random seeds with
                                       the intervals of the logarithms
    FOLDER/report/importance_DATA.png  importance of the places, if the study measures it

They are computed from the results alone, and have no times: equal results give equal files.
"""

import re
from pathlib import Path

from hqdm.study.answers import answers_of, runs_of
from hqdm.study.chains import Plan
from hqdm.study.report.pages import page_of
from hqdm.study.report.plots import save_curves, save_differences, save_importance
from hqdm.utils.errors import HQDMError
from hqdm.utils.files import together, write_file
from hqdm.utils.tables import Page

MARKDOWN, LATEX, DIFFERENCES = "report.md", "report.tex", "differences.png"


def picture_file(kind: str, data: str) -> str:
    """The name of a plot of a data set, of the kind "curves" or "importance"."""
    return f"{kind}_{re.sub(r'[^A-Za-z0-9_-]', '_', data)}.png"


def report_files(plan: Plan) -> list[str]:
    """The names of the files of a report."""
    kinds = ["curves", *(["importance"] if plan.study.importance else [])]
    pictures = [picture_file(kind, data) for data in plan.study.data for kind in kinds]
    return [MARKDOWN, LATEX, DIFFERENCES, *pictures]


def write_report(plan: Plan, folder: Path) -> Page:
    """Write the report of a study.

    Args:
        plan: The plan.
        folder: The folder of the report.

    Returns:
        The tables and sentences.

    Raises:
        HQDMError: If no cell has a result.
    """
    runs = runs_of(plan)
    if all(run.result is None for run in runs):
        raise HQDMError(f"{plan.store.folder} holds no results: `hqdm study run` computes them")
    answers = answers_of(plan, runs)
    page = page_of(plan, runs, answers)
    with together():
        write_file(folder / MARKDOWN, page.markdown())
        write_file(folder / LATEX, page.latex())
        save_differences(answers, folder / DIFFERENCES)
        for data in plan.study.data:
            own = [run for run in runs if run.data == data]
            curves, kind = folder / picture_file("curves", data), plan.study.interval
            save_curves(own, data, kind, curves)
            if plan.study.importance:
                save_importance(own, data, folder / picture_file("importance", data))
    return page
