r"""The front of a sweep as a LaTeX table; it needs `\usepackage{booktabs}`.

Written by hand: of tabulate's formats, the one with rules of booktabs escapes daggers and powers of ten, the raw one
has other rules, and headings in one line make eight columns wider than a page.
"""

from collections.abc import Mapping
from typing import Any

from sweeps.analysis.confirmed import INTERVAL_NAME, Confirmed
from sweeps.analysis.front_rows import FrontRows, as_text, name_of
from sweeps.analysis.intervals import Interval
from sweeps.objectives import FRACTIONS, Key, judged_by

_JUDGED = ("estimate",)
_SPECIAL = str.maketrans({sign: f"\\{sign}" for sign in "_%&#${}"})


def as_latex(front: FrontRows, confirmed: Mapping[Key, Confirmed]) -> str:
    """A `tabular` with the objectives, the test accuracy and the searched parameters of each network.

    Args:
        front: The front.
        confirmed: Summaries by trial and epoch. A confirmed network's test accuracy is the mean over its fresh seeds
            with its interval; any other's is that of the sweep's one run, and marked.
    """
    metrics = [judged_by(name, _JUDGED) for name in front.objectives if name != "test_accuracy"]
    heads = [["network"], *map(_heading, (*metrics, "test_accuracy", *front.parameters))]
    deepest = max(map(len, heads))
    lines = [
        f"% Front of {front.name}. Test accuracy: mean [{INTERVAL_NAME}] over fresh seeds; with a dagger, one run.",
        f"\\begin{{tabular}}{{@{{}}{'r' * len(heads)}@{{}}}}",
        "\\toprule",
        *(
            _row([head[line - deepest] if line >= deepest - len(head) else "" for head in heads])
            for line in range(deepest)
        ),
        "\\midrule",
    ]
    for row in front.rows:
        cells = [_text(name, row[name]) for name in metrics]
        cells += [
            _test(row, confirmed.get((row["trial"], row["epoch"]))),
            *(_text(name, row[name]) for name in front.parameters),
        ]
        lines.append(_row([name_of(row), *cells]))
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def _row(cells: list[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _heading(name: str) -> list[str]:
    """One word per line, so that no column is wider for its heading than for its numbers."""
    return [*name.split("_"), *(["(\\%)"] if name in FRACTIONS else [])]


def _test(row: Mapping[str, Any], confirmed: Confirmed | None) -> str:
    if confirmed and confirmed.test_accuracy.low is not None:
        return _interval(confirmed.test_accuracy)
    return "--" if row["test_accuracy"] is None else f"{100 * row['test_accuracy']:.2f}$^\\dagger$"


def _interval(found: Interval) -> str:
    mean, low, high = (f"{100 * (value or 0.0):.2f}" for value in (found.mean, found.low, found.high))
    return f"{mean} [{low}, {high}]"


def _text(name: str, value: Any) -> str:
    if value is None:
        return "--"
    if not isinstance(value, float):
        return as_text(name, value).translate(_SPECIAL)
    digits, _, exponent = as_text(name, value).partition("e")
    return f"${digits} \\cdot 10^{{{int(exponent)}}}$" if exponent else digits
