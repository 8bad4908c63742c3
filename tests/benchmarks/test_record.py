import json
import re
from pathlib import Path

import pytest

from benchmarks import record


def test_a_row_compares_pair_by_pair() -> None:
    # The medians are 4 and 2, but the ratios of the pairs are 1, 2 and 4.
    row = record.compare("a", [2.0, 4.0, 8.0], peer=[2.0, 2.0, 2.0], unit="steps")
    assert row == {
        "case": "a",
        "ours": 4.0,
        "peer": 2.0,
        "ratio": 2.0,
        "n": 3,
        "low": 1.0,
        "high": 4.0,
        "unit": "steps",
    }


def test_a_shorter_time_is_a_ratio_above_one() -> None:
    row = record.compare("a", [1.0, 2.0, 2.0], peer=[4.0, 4.0, 6.0], lower_is_better=True)
    assert (row["ratio"], row["low"], row["high"]) == (3.0, 2.0, 4.0)


def test_sides_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        record.compare("a", [1.0, 2.0], peer=[1.0])


def test_the_document_replaces_the_old_one_and_leaves_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "new" / "step.json"
    for value in (1.0, 2.0):
        record.write(file, [record.compare("a", [value], peer=[1.0])], measured={"peak": 3})
    document = json.loads(file.read_text(encoding="utf-8"))
    assert list(document) == ["commit", "hardware", "versions", "rows"]
    assert document["rows"][0]["ours"] == 2.0
    assert document["hardware"]["peak"] == 3
    assert list(file.parent.iterdir()) == [file]


def test_what_cannot_be_written_keeps_the_old_document(tmp_path: Path) -> None:
    file = tmp_path / "step.json"
    record.write(file, [])
    before = file.read_bytes()
    with pytest.raises(TypeError):
        record.write(file, [{"case": object()}])
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_the_commit_is_a_revision_or_unknown() -> None:
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|None", str(record.commit()))


def test_the_hardware_does_not_name_the_machine() -> None:
    assert set(record.hardware()) == {"cpu", "cores", "memory_gib", "gpu"}
