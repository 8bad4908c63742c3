"""Networks of a pack in training: their estimates, and the trained ones that nobody beats."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from supermask.artifact import Artifact
from supermask.metrics import RECORDED, EpochMetrics, Evaluation
from supermask.pack import Pack
from sweeps.estimate import WINDOW, Estimate, estimate
from sweeps.objectives import Key, Objectives, ParetoArchive
from sweeps.worker.messages import PackOrder


@dataclass(frozen=True)
class Network:
    """What a lane is after an epoch.

    Attributes:
        measured: Metrics of the epoch.
        judged: Its estimate; None of a lane that has diverged.
        test: On the test set, where that was read.
    """

    measured: EpochMetrics
    judged: Estimate | None
    test: Evaluation | None = None

    @property
    def lane(self) -> int:
        """Place of the trial in the pack's configurations."""
        return self.measured.lane

    @property
    def row(self) -> dict[str, Any]:
        """Epoch, metrics and estimate, as rows of epochs and trials have them."""
        judged = vars(self.judged) if self.judged else {"estimate": None, "standard_error": None}
        test = {"test_loss": self.test and self.test.loss, "test_accuracy": self.test and self.test.accuracy}
        return {name: getattr(self.measured, name) for name in ("epoch", *RECORDED)} | judged | test


class PackNetworks:
    """Judges every network of a pack, and copies those that may be on the front: their lanes train on.

    A copy is of the masks, and of what else is trained beside them, as `supermask.artifact.Artifact` has it. It is made
    only of a network that no rival beats, and is dropped when a later one of the pack beats it before the report.

    Args:
        objectives: What is good, and what a network must keep to be wanted.
        order: The pack, with the rivals of its networks.
    """

    def __init__(self, objectives: Objectives, order: PackOrder) -> None:
        self._lanes, self._is_wanted = order.lanes, order.rivals is not None
        self._front = ParetoArchive(objectives, order.rivals or ())
        self._kept: dict[Key, Artifact] = {}
        self.accuracies: list[tuple[float, ...]] = [()] * len(order.lanes)
        """On the validation part, after the last epochs of each lane."""

    def go_on(self, accuracies: Sequence[tuple[float, ...]]) -> None:
        """The lanes go on from checkpoints, after epochs with these accuracies."""
        self.accuracies = list(accuracies)

    def judge(self, pack: Pack, metrics: Sequence[EpochMetrics]) -> list[Network]:
        """The networks after an epoch, with their estimates."""
        return [self._judge(pack, found) for found in metrics]

    def _judge(self, pack: Pack, found: EpochMetrics) -> Network:
        if found.fault:
            return Network(found, None)
        self.accuracies[found.lane] = (*self.accuracies[found.lane], found.val_accuracy)[-WINDOW:]
        return Network(found, estimate(self.accuracies[found.lane], pack.validation_images))

    def test(self, pack: Pack, networks: Sequence[Network]) -> list[Network]:
        """Reads the test set for the lanes that are through, and for those that are to be tested after this epoch."""
        ended = set(pack.complete())
        wanted = {lane for lane in pack.lanes if lane in ended or pack.epoch in self._lanes[lane].tested}
        tests = {test.lane: test for test in pack.evaluate("test")} if wanted else {}
        return [replace(one, test=tests[one.lane]) if one.lane in wanted else one for one in networks]

    def keep(self, pack: Pack, network: Network) -> None:
        """Copies a network that nobody beats, as the epoch has left it."""
        if not self._is_wanted or network.judged is None:
            return
        row = network.row
        key = self._lanes[network.lane].trial, network.measured.epoch
        displaced = self._front.add(row | {"trial": key[0]})
        if displaced is None:
            return
        for beaten in displaced:
            self._kept.pop(beaten, None)
        reached = {name: value for name, value in row.items() if value is not None and name != "epoch"}
        self._kept[key] = Artifact.of(pack, network.lane, reached)

    def take(self) -> dict[Key, bytes]:
        """Content of the artifacts since the last call, by trial and epoch."""
        kept, self._kept = self._kept, {}
        return {key: artifact.to_bytes() for key, artifact in kept.items()}
