"""The page of measured figures says what the records say."""

import json
from pathlib import Path

import pytest

from benchmarks import page


def test_the_page_is_written_from_the_records() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.page(), "write it anew: python benchmarks/page.py"


def test_every_record_has_a_script_and_a_section() -> None:
    scripts = {section.command.split()[1] for section in page.SECTIONS}
    assert all((page.record.REPOSITORY / script).exists() for script in scripts)
    told = {section.name for section in page.SECTIONS} | {"paper_table", "paper_trajectory"}
    assert {file.stem for file in page.RESULTS.glob("*.json")} <= told


def test_rows_show_three_digits_and_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"case": "steps", "unit": "1/s", "ours": 1234.5, "peer": 3.14159, "ratio": 392.96, "low": 0.5, "high": 400}
    told = row | {"case": "goals", "missed": 2, "over_limit": 1.449}
    missing = dict.fromkeys(("peer", "ratio", "low", "high")) | {"case": "alone", "ours": 0.00123}
    hardware = {"gpu": None, "cpu": "A processor", "cores": 2}
    document = {"commit": "abcdef0123", "hardware": hardware, "versions": {"torch": "2.14"}}
    rows = [each | {"n": 5} for each in (row, missing, told)]
    (tmp_path / "thing.json").write_text(json.dumps(document | {"rows": rows}), encoding="utf-8")
    monkeypatch.setattr(page, "RESULTS", tmp_path)
    things = (
        page.Section("Things", "thing", "python thing.py", "They."),
        page.Section("More", "more", "python m.py", ""),
    )
    monkeypatch.setattr(page, "SECTIONS", things)
    text = page.page()
    assert "| steps (1/s) | 1,234 | 3.14 | 393 | 0.5 to 400 | 5 |" in text
    assert "| goals (1/s; 2 of 5 never came there; 1.4 times the limit) | 1,234 |" in text
    assert "| alone | 0.00123 | - | - | - | 5 |" in text
    assert "(A processor, 2 cores, torch 2.14, commit abcdef0, [record]" in text
    assert "Not yet measured: `python m.py --json benchmarks/results/more.json`." in text
