"""What the benchmark of GPUs is made of, on a CPU."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from benchmarks.gpu.convolutions import FORMS, PRESENT
from benchmarks.gpu.kept import Kept
from benchmarks.record import Row


@dataclass(frozen=True)
class Named:
    name: str


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_convolve_alike(form: str) -> None:
    random = torch.Generator().manual_seed(0)
    values, weights = (
        torch.randn(*shape, dtype=torch.float64, generator=random) for shape in ((5, 3 * 2, 6, 6), (3, 4, 2, 3, 3))
    )
    torch.testing.assert_close(FORMS[form](values, weights), FORMS[PRESENT](values, weights))


def test_a_case_that_breaks_costs_no_other_and_is_not_tried_again(tmp_path: Path) -> None:
    tried = list[str]()

    def measure(case: Named) -> Row:
        tried.append(case.name)
        if case.name == "large":
            raise RuntimeError("GET was unable to find an engine\nmore")
        return {"rates": [1.0]}

    cases = [Named("large"), Named("small")]
    kept = Kept(tmp_path, torch.device("cpu"), minutes=1)
    broken = {"rates": [], "reason": "RuntimeError: GET was unable to find an engine"}
    assert kept.all(cases, measure) == {cases[0]: broken, cases[1]: {"rates": [1.0]}}
    again = Kept(tmp_path, torch.device("cpu"), minutes=0)
    assert again.all([*cases, Named("late")], measure) == kept.all(cases, measure)
    assert (tried, again.left) == (["large", "small"], 1)
