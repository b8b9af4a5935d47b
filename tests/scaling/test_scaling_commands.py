"""fit, predict and report as a user runs them, on runs of a known law."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from sora_jax import command
from sora_jax.scaling import ladder, predict, report, study
from sora_jax.scaling.commands import main
from sora_jax.scaling.law import Law
from sora_jax.scaling.points import read_points

LAW = Law(0.3, 80.0, 40.0, 0.55, 0.40)
HELD_OUT = (1e14, 3.16e14)


@pytest.fixture(scope="module")
def opened(tmp_path_factory) -> study.Study:
    return study.open_study(command.load_config("configs/scaling.py:cpu"), tmp_path_factory.mktemp("study"))


def rows(opened, *, noise: float, budgets=None) -> list[dict[str, object]]:
    """Runs of the ladder's own sizes around each budget's optimum, whose losses are the law's."""
    draw, found = np.random.default_rng(0), []
    sizes, cost = opened.sizes("main"), predict.flops_per_token(opened)
    for budget in budgets or opened.table.budgets:
        best, _, _ = LAW.optimum_on(budget, cost)
        for width in ladder.nearest(opened.table, sizes, budget, float(best), 7):
            one = ladder.line(opened.table, sizes, arm="main", budget=budget, width=width)
            loss = float(LAW.loss(one.size.parameters, one.tokens)) * (1 + noise * draw.normal())
            found.append({**ladder.as_json(one), "loss": loss})
    return found


def write(path: Path, table: list[dict[str, object]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    return path


def test_flops_per_token_are_the_ladders_between_and_at_its_sizes(opened):
    cost, sizes = predict.flops_per_token(opened), opened.sizes("main")
    for width in (12, 48, 160):
        size = sizes(width, 16)
        assert cost(np.array([size.parameters]))[0] == pytest.approx(
            size.step_flops / size.step_tokens, rel=3e-3
        )
    between = cost(np.geomspace(sizes(48, 4).parameters, sizes(56, 4).parameters, 9))
    assert (np.diff(between) > 0).all()
    huge = cost(np.array([1e12, 1e13]))
    assert np.log10(huge[1] / huge[0]) == pytest.approx(1, abs=0.1)  # far off, a token costs 6 N


def test_a_prediction_from_exact_runs_is_the_law_s(opened, tmp_path, capsys):
    runs, out = write(tmp_path / "runs.csv", rows(opened, noise=0.0)), tmp_path / "prediction.json"
    given = [str(runs), "--resamples", "40", "--held_out", "--out", str(out)]
    assert main(["predict", *given]) == 0
    record = json.loads(out.read_text())
    assert [row["C"] for row in record["held_out"]] == list(HELD_OUT) and record["points"] == 49
    cost = predict.flops_per_token(opened)
    for row in record["held_out"]:
        n, d, loss = LAW.optimum_on(row["C"], cost)
        assert row["N"] == pytest.approx(float(n), rel=1e-3) and row["D"] == pytest.approx(float(d), rel=1e-3)
        assert row["loss"]["projection"]["value"] == pytest.approx(float(loss), rel=1e-6)
        step = opened.sizes("main")(row["width"], row["rows"]).step_flops
        assert row["steps"] * step == pytest.approx(row["C"], rel=0.01)
        # The command is one that the trainer takes: its settings exist, and are those of the line.
        words = shlex.split(row["command"])
        _, overrides = command.split_overrides(words)
        config = command.load_config(words[words.index("--config") + 1], overrides)
        assert config.train.total_steps == row["steps"] and config.model.size.width == row["width"]
        schedule = config.optimizer
        assert not schedule.open_ended and schedule.cooldown_steps == round(0.2 * row["steps"])
        # The root of the batch over that of two clips.
        assert schedule.learning_rate == pytest.approx(4e-3 * (row["rows"] / 2) ** 0.5, rel=1e-4)
        assert config.data.rows == row["rows"]
    assert "width" in capsys.readouterr().out


def test_a_command_names_the_tier_that_it_was_asked_of(opened, tmp_path):
    runs, out = write(tmp_path / "runs.csv", rows(opened, noise=0.0)), tmp_path / "prediction.json"
    given = ["--resamples", "40", "--tier", "gpu", "--flops", "1e15", "--out", str(out)]
    main(["predict", str(runs), *given])
    (row,) = json.loads(out.read_text())["held_out"]
    assert "configs/scaling.py:gpu" in row["command"] and row["width"] % 128 == 0


def test_the_held_out_lines_of_a_prediction_are_planned(opened, tmp_path, capsys):
    runs, out = write(tmp_path / "runs.csv", rows(opened, noise=0.0)), tmp_path / "prediction.json"
    main(["predict", str(runs), "--resamples", "40", "--held_out", "--out", str(out)])
    plain = ["ladder", "--tier", "cpu", "--workdir", str(tmp_path / "study")]
    main([*plain, "--prediction", str(out)])
    shown = capsys.readouterr().out
    assert len([line for line in shown.splitlines() if "/1e+14 " in line or "/3.16e+14 " in line]) == 4
    record = json.loads(out.read_text())
    record["held_out"] = record["held_out"][:1]
    out.write_text(json.dumps(record))
    with pytest.raises(command.UsageError, match=r"not \[316000000000000.0\]: run `predict --held_out`"):
        main([*plain, "--prediction", str(out)])


def test_the_report_says_what_was_predicted_and_what_came(opened, tmp_path, capsys):
    table = rows(opened, noise=0.002)
    runs, out = write(tmp_path / "runs.csv", table), tmp_path / "prediction.json"
    main(["predict", str(runs), "--resamples", "40", "--held_out", "--out", str(out)])
    later = rows(opened, noise=0.0, budgets=[1e14])
    for row in later:
        row["loss"] = float(row["loss"]) * 1.004
    write(runs, [*table, *later])
    main(
        [
            "report",
            str(runs),
            "--resamples",
            "40",
            "--prediction",
            str(out),
            "--out",
            str(tmp_path / "report"),
        ]
    )
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count("data:image/png;base64") == 4 and "http" not in page
    for name in ("isoflops", "optima", "loss", "residuals"):
        assert (tmp_path / "report" / f"{name}.png").stat().st_size > 10_000
    for words in ("Liang et al. 2024", "not run yet", "estimators"):
        assert words in page
    judged = report.judged(json.loads(out.read_text()), read_points(runs))
    best = min(float(row["loss"]) for row in later)
    assert judged[0]["measured"] == pytest.approx(best) and judged[1]["measured"] is None
    assert (
        judged[0]["error"] == pytest.approx(abs(best - judged[0]["loss"]) / (best - judged[0]["E"]))
        and judged[0]["error"] < 0.2
    )
    assert judged[0]["inside"] == (judged[0]["low"] <= best <= judged[0]["high"])
    fits = json.loads((tmp_path / "report" / "fits.json").read_text())
    assert fits["runs"] == 49  # what was held out is not fitted


def test_anybodys_columns_by_name(tmp_path, capsys):
    """A table laid out as Epoch's of Chinchilla's runs: sizes, FLOPs and losses under other names."""
    path, law = tmp_path / "epoch.csv", Law(1.69, 406.4, 410.7, 0.34, 0.28)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Model Size", "Training FLOP", "loss"])
        for flops in np.geomspace(1e18, 1e21, 6):
            for n in law.optimum(flops)[0] * np.geomspace(0.2, 5, 7):
                writer.writerow([n, flops, float(law.loss(n, flops / 6 / n))])
    out = tmp_path / "fits.json"
    names = ["--columns", "parameters=Model Size", "flops=Training FLOP"]
    main(["fit", str(path), *names, "--resamples", "40", "--out", str(out)])
    found = json.loads(out.read_text())
    assert found["fits"]["projection"]["law"]["alpha"] == pytest.approx(0.34, abs=1e-5)
    assert "D = C / (6 N)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "many"}, "line 4, column 'loss': 'many' is not a number"),
        ({"loss": "nan"}, "line 4, column 'loss': 'nan' is not finite"),
        ({"loss": "-0.3"}, "line 4, column 'loss': '-0.3' is not above 0"),
        ({"N": ""}, "line 4, column 'N': empty"),
    ],
)
@pytest.mark.parametrize("what", ["fit", "predict", "report"])
def test_bad_rows_name_line_and_column_and_nothing_is_written(opened, tmp_path, what, change, message):
    table = rows(opened, noise=0.0)
    table[2] = {**table[2], **change}
    runs, out = write(tmp_path / "runs.csv", table), tmp_path / "out"
    more = {"fit": [], "predict": ["--flops", "1e14"], "report": []}[what]
    with pytest.raises(command.UsageError, match=message):
        main([what, str(runs), *more, "--out", str(out)])
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--flops", "1e14", "--hours", "3"], "belong together"),
        (["--topology", "v5p:2x2x1"], "belong together"),
        (["--flops", "1e14", "--where", "arm"], "write COLUMN=VALUE"),
        (["--flops", "1e14", "--columns", "loss"], "write WHAT=COLUMN"),
        (["--flops", "1e14", "--columns", "loss=los"], "did you mean 'loss'"),
        (["--flops", "1e14", "--resamples", "3"], "at least 20"),
        (["--flops", "1e3"], "no optimum at 1e\\+03|ten steps"),
        (["--flops", "1e14", "--tier", "cup"], "no variant 'cup'"),
    ],
)
def test_bad_arguments(opened, tmp_path, arguments, message):
    runs = write(tmp_path / "runs.csv", rows(opened, noise=0.0))
    with pytest.raises(command.UsageError, match=message):
        main(["predict", str(runs), "--resamples", "40", *arguments])
