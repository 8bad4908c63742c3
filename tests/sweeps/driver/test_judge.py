"""What the actor at the rungs knows when it begins, without Ray."""

from pathlib import Path
from typing import Any

from search_spaces.space import SearchSpace, Stopping
from sweeps.driver.judge import Judge
from sweeps.results import ResultsWriter, epochs_table
from sweeps.search.halving import Rungs

STOPPING = Stopping(eta=2, grace_epochs=2)
SPACE = SearchSpace(
    name="s",
    fixed={"epochs": 4},
    parameters={},
    objectives={"val_accuracy": "maximize", "remaining": "minimize"},
    constraints=(),
    trials=9,
    stopping=STOPPING,
)


def row(trial: int, epoch: int, accuracy: float, remaining: float) -> dict[str, Any]:
    numbers: dict[str, Any] = dict.fromkeys(("train_loss", "val_loss", "inverted", "seconds"), 0.5)
    metrics: dict[str, Any] = {"val_accuracy": accuracy, "remaining": remaining, "layers": []}
    return {"trial": trial, "attempt": 1, "epoch": epoch} | numbers | metrics


def test_an_actor_that_died_is_followed_by_one_that_judges_as_it_would_have(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    living = Judge(tmp_path, "s", SPACE, STOPPING)
    reached = {number: {"val_accuracy": number / 10, "remaining": 0.5, "remaining_before": 0.6} for number in range(6)}
    assert living.judge(2, reached) == [0, 1, 2]

    writer = ResultsWriter(tmp_path / "s")
    epochs = [
        row(number, epoch, number / 10, {1: 0.6, 2: 0.5, 3: 0.45}[epoch])
        for number in range(6)
        for epoch in ((1, 2) if number < 3 else (1, 2, 3))
    ]
    writer.add_epochs(epochs_table(epochs))
    writer.flush()
    later = {7: {"val_accuracy": 0.25, "remaining": 0.5, "remaining_before": 0.6}}
    assert Judge(tmp_path, "s", SPACE, STOPPING).judge(2, later) == living.judge(2, later) == [7]
    assert Rungs(SPACE, STOPPING).judge(2, later) == []  # which is what one would say that knows nothing
