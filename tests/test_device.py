"""The benchmark of accelerators runs to its end on a CPU, with tiny sizes."""

import json
import math

from benchmarks import device

COMPLETE = {
    "Exactness": 2,
    "Training step, ResNet-18 LRCN": 4,
    "Batches": 1,
    "All pairs": 4,
    "Longest clip": 1,
}


def test_the_device_benchmark_runs_to_its_end(tmp_path, monkeypatch, capsys):
    # PyTorch is optional, and its network is a large one.
    absent = lambda *args: (_ for _ in ()).throw(ImportError("no PyTorch here"))
    monkeypatch.setattr(device, "torch_step", absent)
    device.main(["--small", f"--out={tmp_path / 'result'}"])
    data = json.loads((tmp_path / "result.json").read_text())
    sections = data["sections"]
    assert {name: len(rows) for name, rows in sections.items()} == COMPLETE
    for rows in sections.values():
        for row in rows:
            assert ("failed" in row) == str(row.get("what")).startswith("PyTorch"), row
    for row in sections["Exactness"]:
        assert row["beta, highest"] < 1e-5
    for row in sections["All pairs"]:
        assert row["ratio"] > 0 and math.isfinite(row["explain, GiB"])
    assert sections["Longest clip"][0]["T"] == 16
    table = (tmp_path / "result.md").read_text()
    assert (
        data["device"] in table
        and table == capsys.readouterr().out[-len(table) - 1 :][:-1]
    )
