"""The noise of probes by scheme: what is compared with what."""

import json

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import probes

SCHEMES = (("independent", 1.0), ("crossed", 0.25))  # two are compiled sooner than all


def test_each_scheme_is_compared_with_the_released_one(tmp_path, capsys, monkeypatch):
    assert probes.SCHEMES[0] == SCHEMES[0] and SCHEMES[1] in probes.SCHEMES
    monkeypatch.setattr(probes, "SCHEMES", SCHEMES)
    path = tmp_path / "probes.json"
    command.main(["probes", "--size", "tiny", "--batch", "4", "--draws", "3", "--out", str(path)])
    record = json.loads(path.read_text())
    assert record["setting"] == {"size": "tiny", "batch": 4, "draws": 3}
    rows = record["schemes"]
    assert [(row["design"], row["images"]) for row in rows] == [(design, int(4 * share)) for design, share in SCHEMES]
    first = rows[0]
    assert [first[f"{name}_ratio"] for name in ("time", "penalty", "relative", "gradient")] == [1.0] * 4
    for row in rows:
        assert row["seconds"] > 0 and row["deviation"] > 0 and row["gradient_variance"] > 0
        time = row["seconds"] / first["seconds"]
        spread = (row["deviation"] / row["mean"]) / (first["deviation"] / first["mean"])
        np.testing.assert_allclose(row["relative_ratio"], time * spread**2, rtol=1e-9)
        np.testing.assert_allclose(
            row["gradient_ratio"], time * row["gradient_variance"] / first["gradient_variance"], rtol=1e-9
        )
    assert "crossed" in capsys.readouterr().out


def test_too_few_draws_are_refused(capsys):
    with pytest.raises(SystemExit):
        command.main(["probes", "--draws", "1"])
    assert "--draws must be at least 2, got 1" in capsys.readouterr().err
