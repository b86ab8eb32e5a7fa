"""Two checkouts are measured in turn, and a ratio is of one round."""

import json
import subprocess
from pathlib import Path

import versions

SCRIPT = """
import json, sys
from pathlib import Path
log = Path(__file__).with_name("log")
calls = len(log.read_text()) if log.exists() else 0
log.write_text((calls + 1) * "x")
rows = [{"task": task, "forward_min_s": SECONDS * (calls + 1), "backward_min_s": SECONDS}
        for task in sys.argv[1:sys.argv.index("--json")]]
print(json.dumps(rows))
"""


def checkout(folder: Path, seconds: float) -> Path:
    (folder / "benchmarks").mkdir(parents=True)
    (folder / "benchmarks" / "simulator.py").write_text(SCRIPT.replace("SECONDS", str(seconds)))
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", *identity, *command], cwd=folder, check=True)
    return folder


def test_both_are_measured_in_turn(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(versions, "HERE", checkout(tmp_path / "this", 1.0))
    other = checkout(tmp_path / "other", 2.0)
    assert versions.main([str(other), "ant", "hopper", "--rounds", "3", "--json"]) == 0
    said = capsys.readouterr()
    rows = json.loads(said.out)
    assert [row["task"] for row in rows] == ["ant", "hopper"]
    for row in rows:
        assert (row["this_s"], row["other_s"]) == (3.0, 6.0)
        assert row["ratio"] == row["ratio_least"] == row["ratio_largest"] == 0.5
        assert len(row["other_commit"]) == 40
    turns = [line.rsplit("/", 1)[1] for line in said.err.splitlines()]
    assert turns == ["this", "other", "other", "this", "this", "other"]


def test_what_is_no_checkout_is_refused(tmp_path, capsys):
    assert versions.main([str(tmp_path), "ant"]) == 2
    assert "is no checkout" in capsys.readouterr().err
