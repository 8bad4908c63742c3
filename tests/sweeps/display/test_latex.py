import subprocess
from collections.abc import Callable
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from search_spaces.space import SearchSpace
from sweeps.analysis.confirmed import summarise
from sweeps.analysis.front_rows import front_rows
from sweeps.display.latex import as_latex
from tests.sweeps.conftest import network_table

Space = Callable[..., SearchSpace]
EndedRow = Callable[..., dict[str, Any]]


def test_a_table_for_booktabs(small_space: Space, ended_row: EndedRow) -> None:
    rows = [ended_row(3, learning_rate=1.25e-5, pruning_rate=0.5, estimate=0.86), ended_row(4, test_accuracy=None)]
    rows.append(ended_row(3, epochs_done=1))
    confirmed = summarise(
        {"trial": 3, "epoch": 2, "network": "fcn", "dataset": "digits", "state": "finished", "reason": None}
        | {"test_accuracy": accuracy, "val_accuracy": 0.9, "remaining": 0.1}
        for accuracy in (0.94, 0.96)
    )
    text = as_latex(front_rows(network_table(rows), small_space()), {(3, 2): confirmed[0]})
    assert text.splitlines() == [
        "% Front of small. Test accuracy: mean [95 % Student t interval] over fresh seeds; with a dagger, one run.",
        r"\begin{tabular}{@{}rrrrrr@{}}",
        r"\toprule",
        r" &  &  & test &  &  \\",
        r" & estimate & remaining & accuracy & pruning & learning \\",
        r"network & (\%) & (\%) & (\%) & rate & rate \\",
        r"\midrule",
        r"3@2 & 86.00 & 12.50 & 95.00 [82.29, 107.71] & 0.5 & $1.25 \cdot 10^{-5}$ \\",
        r"4@2 & 86.00 & 10.00 & -- & 0.5 & 0.05 \\",
        r"3@1 & 87.00 & 12.50 & 88.00$^\dagger$ & 0.5 & 0.05 \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_one_run_is_marked_and_names_are_escaped(small_space: Space, ended_row: EndedRow) -> None:
    parameters = small_space().parameters
    space = small_space(parameters={"weight_init": parameters["pruning_rate"]})
    text = as_latex(front_rows(network_table([ended_row(0)]), space), {})
    assert r"0@2 & 90.00 & 50.00 & 88.00$^\dagger$ & signed\_constant \\" in text
    assert " & weight " in text
    assert " & init " in text


@pytest.mark.skipif(not which("pdflatex"), reason="no LaTeX: apt-get install texlive-latex-recommended")
def test_latex_takes_it_and_it_is_no_wider_than_a_page(small_space: Space, ended_row: EndedRow, tmp_path: Path) -> None:
    names = ("pruning_rate", "learning_rate", "weight_decay", "weight_gain")
    space = small_space(parameters=dict.fromkeys(names, small_space().parameters["pruning_rate"]))
    rows = [ended_row(7, learning_rate=1.25e-5, weight_decay=0.000202, weight_gain=1.49, pruning_rate=0.38)]
    (tmp_path / "front.tex").write_text(as_latex(front_rows(network_table(rows), space), {}))
    page = r"\documentclass{article}\usepackage[margin=3cm]{geometry}\usepackage{booktabs}"
    page += r"\begin{document}\noindent\input{front}\end{document}"
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", page]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "Overfull" not in done.stdout
