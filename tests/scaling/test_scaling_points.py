"""Runs from a CSV: what is read, what follows from 6 N D, and every error with its line and column."""

from __future__ import annotations

import numpy as np
import pytest
from scaling_runs import ladder, law_of

from sora_jax.scaling.points import budgets, read_points

HEADER = "name,N,D,C,loss"
GOOD = ["small,1e6,2e9,1.2e16,3.5", "large,1e9,2e9,1.2e19,2.5"]


def written(tmp_path, *rows: str, header: str = HEADER, encoding: str = "utf-8"):
    path = tmp_path / "runs.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding=encoding)
    return path


def test_read(tmp_path):
    points = read_points(written(tmp_path, GOOD[0], "", GOOD[1], encoding="utf-8-sig"))
    assert points.names == ["small", "large"] and points.notes == ()
    np.testing.assert_array_equal(points.parameters, [1e6, 1e9])
    np.testing.assert_array_equal(points.flops, [1.2e16, 1.2e19])
    assert np.isnan(points.standard_error).all() and points.loss.dtype == np.float64


@pytest.mark.parametrize(
    ("header", "row", "what"), [("N,D,loss", "1e6,2e9,3.5", "'C'"), ("N,C,loss", "1e6,1.2e16,3.5", "'D'")]
)
def test_the_third_of_n_d_c_is_said(tmp_path, header, row, what):
    points = read_points(written(tmp_path, row, header=header))
    assert points.flops[0] == pytest.approx(1.2e16) and points.tokens[0] == pytest.approx(2e9)
    assert len(points.notes) == 1 and what in points.notes[0] and "6 N" in points.notes[0]
    assert points.names == ["line 2"]


def test_the_layout_of_epochs_chinchilla_points(tmp_path):
    """An index, picture coordinates, and names of its own (svg_extracted_data.csv)."""
    header = ",x,y,Model Size,Training Tokens,Training FLOP,loss"
    runs = enumerate([(1e8, 3.1), (4e8, 2.8)])
    rows = [f"{i},{i}.5,7.5,{n},{1e19 / 6 / n},1e19,{loss}" for i, (n, loss) in runs]
    columns = {"parameters": "Model Size", "flops": "Training FLOP", "loss": "loss"}
    points = read_points(written(tmp_path, *rows, header=header), columns)
    np.testing.assert_allclose(points.tokens, 1e19 / 6 / points.parameters)
    np.testing.assert_array_equal(points.loss, [3.1, 2.8])


def test_rows_are_chosen_by_where(tmp_path):
    path = written(tmp_path, *GOOD)
    assert read_points(path, where={"name": "large"}).names == ["large"]
    with pytest.raises(ValueError, match=r"column 'name': no row has 'huge'; there are 'large', 'small'"):
        read_points(path, where={"name": "huge"})


@pytest.mark.parametrize(
    ("row", "column", "says"),
    [
        ("bad,tiny,2e9,1.2e16,3.5", "N", "'tiny' is not a number"),
        ('bad,"1,000,000",2e9,1.2e16,3.5', "N", "without commas"),
        ("bad,1e6,nan,1.2e16,3.5", "D", "'nan' is not finite"),
        ("bad,1e6,2e9,inf,3.5", "C", "'inf' is not finite"),
        ("bad,0,2e9,1.2e16,3.5", "N", "'0' is not above 0"),
        ("bad,1e6,-2e9,1.2e16,3.5", "D", "'-2e9' is not above 0"),
        ("bad,1e6,2e9,0,3.5", "C", "'0' is not above 0"),
        ("bad,1e6,2e9,1.2e16,-3.5", "loss", "'-3.5' is not above 0"),
        ("bad,1e6,2e9,1.2e16,", "loss", "empty"),
    ],
)
def test_a_bad_cell_is_named(tmp_path, row, column, says):
    with pytest.raises(ValueError) as error:
        read_points(written(tmp_path, GOOD[0], "", row, GOOD[1]))
    message = str(error.value)
    assert f"runs.csv, line 4, column '{column}'" in message and says in message


def test_a_row_that_stands_twice_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"runs.csv, line 4: the same as line 2"):
        read_points(written(tmp_path, *GOOD, GOOD[0]))
    twins = [GOOD[0], GOOD[0].replace("small", '"small, seed 1"')]
    assert len(read_points(written(tmp_path, *twins))) == 2


@pytest.mark.parametrize(
    ("header", "columns", "says"),
    [
        ("name,N,D,C,Loss", {}, "no column 'loss': did you mean 'Loss'?"),
        ("name,N,D,C,loss", {"parameters": "Model Size"}, "no column 'Model Size'"),
        ("name,N,x,y,loss", {}, "no column 'D' or 'C'"),
        ("name,N,D,D,loss", {}, "two columns 'D'"),
        ("name;N;D;C;loss", {}, "separated by ';'"),
        ("", {}, "no header"),
    ],
)
def test_a_bad_header_is_named(tmp_path, header, columns, says):
    with pytest.raises(ValueError, match="line 1") as error:
        read_points(written(tmp_path, *GOOD, header=header), columns)
    assert says in str(error.value)


def test_a_bad_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="line 3: 6 cells under 5 columns"):
        read_points(written(tmp_path, GOOD[0], "a,b,1e6,2e9,1.2e16,3.5"))
    with pytest.raises(ValueError, match="no rows"):
        read_points(written(tmp_path))
    with pytest.raises(ValueError, match="not UTF-8"):
        read_points(written(tmp_path, "é" + GOOD[0], encoding="latin-1"))
    with pytest.raises(ValueError, match=r"\['size'\]: the names to give are parameters"):
        read_points(written(tmp_path, *GOOD), {"size": "N"})


def test_budgets_are_what_lies_within_ten_per_cent():
    """C rounded to whole steps, two runs between the budgets, and a pair of sizes that is no budget."""
    points = ladder(law_of(0.34, 0.28), decades=1.5)
    rounded = points.flops * (1 + 0.08 * np.random.default_rng(0).uniform(-0.5, 0.5, len(points)))
    rounded[[3, 10]] *= 1.6
    found = budgets(points.__class__(**{**vars(points), "flops": rounded}))
    assert [len(members) for members in found] == [6, 6, 7, 7]
    assert not {3, 10} & set(np.concatenate(found))
    assert budgets(points.take(np.array([0, 1, 7, 8]))) == []
    for members in found:
        assert np.ptp(np.log(rounded[members])) <= 2 * np.log(1.1)
