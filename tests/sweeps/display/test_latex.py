from collections.abc import Callable
from typing import Any

from search_spaces.space import SearchSpace
from sweeps import results
from sweeps.analysis.confirmed import summarise
from sweeps.display.latex import front_table

Space = Callable[..., SearchSpace]
EndedRow = Callable[..., dict[str, Any]]


def test_a_table_for_booktabs(small_space: Space, ended_row: EndedRow) -> None:
    rows = [ended_row(3, learning_rate=1.25e-5, pruning_rate=0.5), ended_row(4, test_accuracy=None)]
    confirmed = summarise(
        {"trial": 3, "network": "fcn", "dataset": "digits", "state": "finished", "reason": None}
        | {"test_accuracy": accuracy, "remaining": 0.1}
        for accuracy in (0.94, 0.96)
    )
    text = front_table(results.trials_table(rows), small_space(), {3: confirmed[0]})
    assert text.splitlines() == [
        "% Front of small. Test accuracy: mean [95 % Student t interval] over fresh seeds; with a dagger, one run.",
        r"\begin{tabular}{rrrrrr}",
        r"\toprule",
        r"trial & val accuracy (\%) & remaining (\%) & test accuracy (\%) & pruning rate & learning rate \\",
        r"\midrule",
        r"3 & 87.00 & 12.50 & 95.00 [82.29, 107.71] & 0.5 & $1.25 \cdot 10^{-5}$ \\",
        r"4 & 86.00 & 10.00 & -- & 0.5 & 0.05 \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_one_run_is_marked_and_names_are_escaped(small_space: Space, ended_row: EndedRow) -> None:
    parameters = small_space().parameters
    space = small_space(parameters={"weight_init": parameters["pruning_rate"]})
    text = front_table(results.trials_table([ended_row(0)]), space, {})
    assert r"0 & 90.00 & 50.00 & 88.00$^\dagger$ & signed\_constant \\" in text
    assert "weight init" in text
