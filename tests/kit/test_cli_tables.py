"""The command on tables: training, prediction, and what a file says about the table that it expects."""

import csv
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import cgraph as CG
from cgraph import cli
from cgraph.tables.reading import Table

pytestmark = pytest.mark.thread_unsafe(reason="changes the working directory")


@pytest.fixture
def cgraph(capsys, monkeypatch, tmp_path):
    """Runs a command line in a folder of its own, without tqdm and matplotlib; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    for name in ("tqdm", "matplotlib"):
        monkeypatch.setitem(sys.modules, name, None)

    def run(*argv):
        try:
            code = cli.main([str(argument) for argument in argv])
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        return code, out, "".join(x for x in err.splitlines(True) if "is not installed" not in x)

    return run


def write(name, header, rows):
    with open(name, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def flowers(count, seed=0, gaps=()):
    """Returns rows like those of Fisher's irises: two measures, a place, and the kind, which they decide about."""
    rng = np.random.default_rng(seed)
    rows = []
    for k in range(count):
        kind = k % 3
        length, width = rng.normal([1 + 2 * kind, 5 - kind], 0.3)
        place = ["garden", "wood, wet"][rng.integers(2)]
        row = [f"{length:.2f}", f"{width:.2f}", place, ["setosa", "versicolor", "virginica"][kind]]
        rows.append(["" if (k, column) in gaps else cell for column, cell in enumerate(row)])
    return rows


HEADER = ["length", "width", "place", "kind"]


@pytest.fixture
def trained(cgraph):
    write("flowers.csv", HEADER, flowers(150, gaps={(4, 0), (7, 0), (9, 2), (11, 3)}))
    return cgraph("train", "flowers.csv", "--target", "kind", "--epochs", 30, "--seed", 1)


def test_classes_are_learnt_from_a_table(trained, cgraph):
    code, out, err = trained
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[:3] == [
        "flowers.csv: 149 rows, separated by comma, in utf-8",
        "classification of 'kind': 3 values: 'setosa', 'versicolor', 'virginica'",
        "  1 row without it left out",
    ]
    assert "missing cells: 'length' 2, 'place' 1" in lines
    assert "95 rows to train on, 24 to choose the best epoch by, 30 held out" in lines
    assert lines[-1].startswith("held out: accuracy ")
    assert float(lines[-1].split()[3]) > 90
    assert lines[-1].split("(always")[1].endswith(" %)")
    # The graph in the file predicts probabilities.
    model = CG.load("model.npz")
    found = CG.Graph(model["prediction"]).predict({model["x"]: np.zeros((2, model["x"].size))})
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)


def test_predictions_are_in_the_order_of_the_rows(trained, cgraph):
    rows = flowers(40, seed=5)
    rows[3][0], rows[8][2] = "long", "desert"
    shuffled = [[kind, place, "x", width, length] for length, width, place, kind in rows]
    shuffled[20][0], shuffled[21][0] = "", "rose"
    write("new.csv", ["kind", "place", "more", "width", "length"], shuffled)
    code, out, _ = cgraph("predict", "model.npz", "new.csv", "-o", "out.csv")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].endswith("out.csv")
    assert lines[1:4] == [
        "40 rows, 1 of them without a prediction",
        "new.csv: line 5: column 'length': expected a number, got 'long': no prediction",
        "unknown categories: 'place' 1",
    ]
    assert lines[4].startswith("37 rows with a target: accuracy ")
    with open("out.csv", encoding="utf-8", newline="") as file:
        written = [*csv.reader(file)]
    kinds = ["setosa", "versicolor", "virginica"]
    assert written[0] == ["predicted kind", *(f"probability of {kind}" for kind in kinds)]
    assert written[4] == ["", "", "", ""]
    right = 0
    for row, cells in zip(rows, written[1:], strict=True):
        if cells[0]:
            probabilities = [float(cell) for cell in cells[1:]]
            assert kinds[int(np.argmax(probabilities))] == cells[0]
            right += cells[0] == row[3]
    assert right > 35
    # Without the target, and to stdout.
    write("bare.csv", HEADER[:3], [row[:3] for row in rows])
    code, out, err = cgraph("predict", "model.npz", "bare.csv")
    assert code == 0
    assert [*csv.reader(out.splitlines())] == written
    assert "with a target" not in err


def test_numbers_are_learnt_in_their_own_unit(cgraph):
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 10, 200)
    rows = [
        [f"{a:.3f}".replace(".", ","), f"{1000 + 50 * a:.2f}".replace(".", ",")] for a in x.tolist()
    ]
    with open("line.csv", "w", encoding="utf-8") as file:
        file.write("\n".join(";".join(row) for row in [["x", "price"], *rows]))
    options = ("--target", "price", "--decimal", ",", "--epochs", 60, "--hidden", 0, "--lr", 0.05)
    code, out, err = cgraph("train", "line.csv", *options)
    assert (code, err) == (0, "")
    assert out.splitlines()[0].endswith("200 rows, separated by semicolon, in utf-8")
    assert float(out.splitlines()[-1].rpartition("R² ")[2]) > 0.99
    with open("two.csv", "w", encoding="utf-8") as file:
        file.write("x;y\n1,5;0\n4;0\n")
    code, out, err = cgraph("predict", "model.npz", "two.csv")
    assert out.splitlines()[0] == "predicted price"
    np.testing.assert_allclose([float(line) for line in out.splitlines()[1:]], [1075, 1200], rtol=0.01)  # fmt: skip
    assert err == "2 rows, 0 of them without a prediction\n"


def test_the_same_options_give_the_same_file_and_a_checkpoint_goes_on(trained, cgraph, tmp_path):
    first = (tmp_path / "model.npz").read_bytes()
    last = trained[1].splitlines()[-1]
    command = ("train", "flowers.csv", "--target", "kind", "--seed", 1, "--checkpoint", "state.npz")
    assert cgraph(*command, "--epochs", 30)[0] == 0
    assert (tmp_path / "model.npz").read_bytes() == first
    code, out, _ = cgraph(*command, "--epochs", 30)
    assert (code, out.count("goes on after epoch 30"), out.splitlines()[-1]) == (0, 1, last)


def test_ctrl_c_keeps_the_best_epoch(cgraph, monkeypatch):
    write("flowers.csv", HEADER, flowers(60))
    left, learn = iter(range(3)), CG.Graph.train

    def interrupted(self, *arguments, **options):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return learn(self, *arguments, **options)

    monkeypatch.setattr(CG.Graph, "train", interrupted)
    code, out, _ = cgraph("train", "flowers.csv", "--target", "kind")
    assert code == 130
    assert "stopped by Ctrl-C: 3 of 200 epochs done\nthe model is that of epoch 3, whose" in out
    assert out.splitlines()[-1].startswith("held out: accuracy ")


def test_info_tells_what_table_a_model_expects(trained, cgraph):
    code, out, _ = cgraph("info", "model.npz")
    assert code == 0
    text = out.partition("predicts 'kind': 3 values: 'setosa', 'versicolor', 'virginica'\n")[2]
    lines = text.splitlines()
    assert lines[-1] == "decimal mark '.'; missing are empty cells, na, n/a, #n/a, nan, null, ?"
    assert [line.split()[:2] for line in lines[2:-1]] == [
        ["'length'", "number"], ["'width'", "number"], ["'place'", "category"],
    ]  # fmt: skip
    assert lines[2].endswith(", may be missing")
    assert lines[4].endswith("2 values: 'garden', 'wood, wet'")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("train", "flowers.csv"), "flowers.csv: a table needs --target COLUMN; the images are called digits"),
        (("train", "flowers.csv", "--target", "colour"), "flowers.csv: expected a column 'colour', got 'length'"),
        (("train", "absent.csv", "--target", "kind"), "absent.csv: No such file or directory"),
        (("train", "flowers.csv", "--target", "kind", "--data", "x"), "--data holds images, of the task digits"),
        (("train", "digits", "--target", "kind"), "--target is for tables, got the task digits"),
        (("train", "digits", "--hidden", "0"), "--hidden is for tables, got the task digits"),
        (("train", "digits", "--task", "auto"), "--task is for tables, got the task digits"),
        (("train", "flowers.csv", "--separator", "ab"), "expected one character or tab, got 'ab'"),
        (("train", "flowers.csv", "--hidden", "8,x"), "expected a whole number of at least 1, got 'x'"),
        (("predict", "model.npz"), "model.npz: the model expects a table, got none"),
        (("predict", "model.npz", "bare.csv"), "bare.csv: expected a column 'place', got none"),
        (("predict", "model.npz", "flowers.csv", "-o", "no/out.csv"), "no/out.csv: No such file or directory"),
        (("predict", "images.npz", "flowers.csv"), "images.npz: the model expects images, in --data FOLDER"),
        (("predict", "hostile.npz", "flowers.csv"), "hostile.npz: expected nodes of a model of cgraph train"),
        (("predict", "strange.npz", "flowers.csv"), "strange.npz: expected a preparation of tables, got no"),
        (("info", "strange.npz"), "strange.npz: expected a preparation of tables, got no preparation of a table"),
    ],
)  # fmt: skip
def test_errors_of_the_user_are_one_line(trained, cgraph, argv, message):
    write("bare.csv", HEADER[:2], [["1", "2"]])
    metadata = CG.load("model.npz").metadata
    x = CG.Leaf1(2)
    CG.save("images.npz", x, metadata={"task": "images"})
    CG.save("strange.npz", x, metadata={"task": "table", "preparation": 3})
    CG.save("hostile.npz", {"x": x, "prediction": CG.Softmax(x)}, metadata=metadata)
    code, _, err = cgraph(*argv)
    assert code == 2
    assert err.startswith("cgraph: error: ")
    assert message in err
    assert err.count("\n") == 1


def test_rows_that_change_between_two_readings_are_noticed(cgraph, monkeypatch):
    write("flowers.csv", HEADER, flowers(40))
    read, calls = Table.rows, []

    def once(self):
        calls.append(self)
        return iter([*read(self)][: 40 - (len(calls) > 1)])

    monkeypatch.setattr(Table, "rows", once)
    assert cgraph("train", "flowers.csv", "--target", "kind")[::2] == (
        2,
        "cgraph: error: flowers.csv: expected the same rows in a second reading, got others\n",
    )


PAGE = Path(__file__).parents[2] / "docs/learn/tables.md"


@pytest.mark.skipif(not PAGE.exists(), reason="the tests run without the documentation")
def test_the_page_about_tables_shows_what_the_command_prints(cgraph):
    """Each line that the page shows is printed, in this order, with other decimals perhaps."""
    page = PAGE.read_text(encoding="utf-8")
    found = dict(re.findall(r"```(python|text)\n(.*?)```", page, re.DOTALL))
    exec(compile(found["python"], "make.py", "exec"), {})
    Path("new.csv").write_text(found["text"], encoding="utf-8")
    shown = "".join(re.findall(r"```console\n(.*?)```", page, re.DOTALL))
    for part in shown.split("$ cgraph ")[1:]:
        command, _, lines = part.partition("\n")
        code, out, err = cgraph(*command.split())
        assert (code, err) == (0, "")
        printed = iter(without_figures(out).splitlines())
        for line in without_figures(lines).splitlines():
            assert line == "..." or line in printed
    assert Path("prices.csv").read_text(encoding="utf-8").count("\n") == 5


def without_figures(text):
    return re.sub(r"\d+\.\d+(e[+-]\d+)?", "#", text)


def test_a_table_of_one_column_beside_the_target(cgraph):
    write("line.csv", ["x", "y"], [[k, 2 * k] for k in range(60)])
    assert cgraph("train", "line.csv", "--target", "y", "--epochs", "3")[0] == 0
    Path("new.csv").write_text('"x"\n1\n2\n', encoding="utf-8")
    code, out, _ = cgraph("predict", "model.npz", "new.csv")
    assert code == 0
    assert out.splitlines()[0] == "predicted y"
    assert len(out.splitlines()) == 3
    Path("other.csv").write_text("z\n1\n", encoding="utf-8")
    code, _, err = cgraph("predict", "model.npz", "other.csv")
    assert code == 2
    assert "got one column" in err


def test_thousands_and_signs_are_pointed_out(cgraph):
    rows = [[k, f"{k},350" if k % 7 == 3 else 500 + k] for k in range(1, 60)]
    write("prices.csv", ["x", "price"], rows)
    code, _, err = cgraph("train", "prices.csv", "--target", "price")
    assert code == 2
    assert "take out the commas if they divide thousands" in err
    write("signs.csv", ["x", "price"], [[k, f"${1000 + k}"] for k in range(60)])
    code, out, _ = cgraph("train", "signs.csv", "--target", "price", "--epochs", "1")
    assert code == 0
    assert "these are many classes: a regression needs plain numbers" in out
