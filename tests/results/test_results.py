"""Making rows: train, stop, go on, measure the packed file, write and render."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bincompress.checkpoint import load_checkpoint
from bincompress.cli.results import results
from bincompress.errors import UsageError
from bincompress.evaluate import evaluate
from bincompress.finetune import Progress
from bincompress.recipe import recipes_dir
from bincompress.results import Row, make_results, read_results, render, runner, table

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> tuple[Row, ...]:
    """Two rows that train in a second each, on a float network that does as well."""
    parent = table.Parent("tiny", "digits_cnn", "digits", overrides=("train.stages.0.epochs=1",))
    monkeypatch.setitem(table.PARENTS, "tiny", parent)
    made = (
        Row("a", "Digits", "tiny", "digits", 2, published="99", source="nobody"),
        Row("b", "Which is better?", "tiny", "bwn", 1, ("train.seed=1",), "another seed"),
    )
    monkeypatch.setattr(runner, "ROWS", made)
    return made


def test_rows_that_train_the_same_are_trained_once(rows: tuple[Row, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    more = (
        Row("c", "Another question", "tiny", "bwn", 1, ("train.seed=1", "defaults.padding=zero"), "the same again"),
        Row("d", "Another question", "tiny", "bwn", 1, ("train.seed=2",), "other"),
        Row("e", "Another network", "digits", "bwn", 1, ("train.seed=1",)),
    )
    monkeypatch.setattr(runner, "ROWS", rows + more)
    data = Path("data")
    made = [runner._trained_as(row, runner._recipe(row, data), data) for row in rows + more]
    assert made == ["a", "b", "b", "d", "e"]


class Watching:
    """A reporter that counts epochs."""

    def __init__(self) -> None:
        self.epochs: list[tuple[str, int]] = []

    def stage(self, text: str) -> None:
        pass

    def training(self, progress: Progress) -> None:
        if progress.step == progress.steps:
            self.epochs.append((progress.stage, progress.epoch))


def test_rows_are_made_once_measured_and_rendered(rows: tuple[Row, ...], tmp_path: Path) -> None:
    output, work = tmp_path / "recipes", tmp_path / "work"
    output.mkdir()
    watching = Watching()
    first = make_results(rows, work=work, data=tmp_path, output=output, speed=False, reporter=watching)
    assert first.made == ["a", "b"]
    assert len(watching.epochs) == 1 + 2 + 1  # the float network once
    found = read_results(output)
    assert [row["id"] for row in found] == ["a", "b"]
    row = found[0]
    assert row["epochs"] == 2
    assert row["float_training"]["epochs"] == 1
    packed = work / "a.gguf"
    assert row["bytes"] == packed.stat().st_size
    assert row["packed_accuracy"] == evaluate(packed, "digits")["top1"]
    assert row["checkpoint_accuracy"] == load_checkpoint(work / "a.ckpt").accuracy["binary"] == row["packed_accuracy"]
    assert row["samples"] == evaluate(packed, "digits")["samples"]
    assert row["verify"]["integer_mismatches"] == 0
    assert found[1]["seed"] == 1
    assert (output / "RESULTS.md").read_text() == render(found)

    again = make_results(rows, work=work, data=tmp_path, output=output, speed=False, reporter=watching)
    assert (again.made, again.already) == ([], ["a", "b"])
    measured = make_results(rows[:1], work=work, data=tmp_path, output=output, force=True, reporter=watching)
    assert measured.made == ["a"]
    assert len(watching.epochs) == 4  # nothing was trained again
    with_speed = read_results(output)
    assert with_speed[0]["speed"]["speedup"] > 0
    assert with_speed[1] == found[1]
    assert {key: value for key, value in with_speed[0].items() if key != "speed"} == row


def test_a_budget_stops_training_and_the_next_call_goes_on(
    rows: tuple[Row, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_results(rows[:1], work=tmp_path / "straight", data=tmp_path, output=tmp_path, speed=False)
    straight = read_results(tmp_path)
    (tmp_path / "results.json").unlink()

    class Expired(runner._Deadline):
        """Time is up as soon as the second epoch of the 1-bit network begins."""

        late = False

        @property
        def passed(self) -> bool:
            return self.late

        def training(self, progress: Progress) -> None:
            self.late = self.late or (progress.stage != "float" and progress.epoch == 2)
            super().training(progress)

    with monkeypatch.context() as patch:
        patch.setattr(runner, "_Deadline", Expired)
        stopped = make_results(rows, work=tmp_path / "w", data=tmp_path, output=tmp_path, speed=False)
    assert (stopped.made, stopped.unfinished) == ([], ["a", "b"])
    assert read_results(tmp_path) == []
    assert load_checkpoint(tmp_path / "w" / "a.ckpt").epoch == 1
    watching = Watching()
    make_results(rows[:1], work=tmp_path / "w", data=tmp_path, output=tmp_path, speed=False, reporter=watching)
    assert len(watching.epochs) == 1
    resumed = read_results(tmp_path)
    for row in (*straight, *resumed):
        row.pop("seconds"), row["float_training"].pop("seconds")
    assert resumed == straight


def test_no_time_at_all_makes_nothing(rows: tuple[Row, ...], tmp_path: Path) -> None:
    summary = make_results(rows, work=tmp_path / "w", data=tmp_path, output=tmp_path, budget_seconds=0)
    assert summary.unfinished == ["a", "b"]
    assert not list((tmp_path / "w").iterdir())


def test_a_model_or_directory_that_is_missing_is_named(tmp_path: Path) -> None:
    row = next(row for row in table.ROWS if row.id == "lenet-bwn")
    with pytest.raises(UsageError, match=r"lenet\.onnx: this row starts from it; .*--data-dir"):
        make_results([row], work=tmp_path / "w", data=tmp_path, output=tmp_path)
    with pytest.raises(UsageError, match="no such directory"):
        make_results([row], work=tmp_path / "w", data=tmp_path, output=tmp_path / "recipes")


def test_what_is_no_table_or_no_directory_is_named(rows: tuple[Row, ...], tmp_path: Path) -> None:
    for text in ("{", "[]", '{"rows": [3]}', '{"rows": [{}]}'):
        (tmp_path / "results.json").write_text(text)
        with pytest.raises(UsageError, match=r"results\.json: is no table of results"):
            make_results(rows, work=tmp_path / "w", data=tmp_path, output=tmp_path)
    with pytest.raises(UsageError, match=r"results\.json: cannot be made: File exists; .*--work"):
        make_results(rows, work=tmp_path / "results.json", data=tmp_path, output=tmp_path)


def test_ctrl_c_says_how_to_go_on(rows: tuple[Row, ...], tmp_path: Path) -> None:
    class Stop(Watching):
        def training(self, progress: Progress) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="the same command goes on"):
        make_results(rows, work=tmp_path / "w", data=tmp_path, output=tmp_path, reporter=Stop())


def test_rows_are_listed_as_json_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results(only=["lenet-*"], output=tmp_path, list_rows=True, as_json=True)
    listed = json.loads(capsys.readouterr().out)["rows"]
    assert [row["id"] for row in listed] == ["lenet-bwn", "lenet-xnor", "lenet-bnn"]
    assert not any(row["made"] for row in listed)
    with pytest.raises(UsageError, match="no such directory"):
        results(output=tmp_path / "recipes", list_rows=True)


def test_results_md_is_the_rendering_of_results_json() -> None:
    source = REPOSITORY / "recipes"
    rows = json.loads((source / "results.json").read_text(encoding="utf-8"))["rows"]
    assert (source / "RESULTS.md").read_text(encoding="utf-8") == render(rows)
    assert {row["id"] for row in rows} <= {row.id for row in table.ROWS}
    assert all(row["verify"]["integer_mismatches"] == 0 for row in rows)
    assert recipes_dir().is_dir()


def test_threads_are_those_of_a_processor() -> None:
    row = read_results(REPOSITORY / "recipes")[0] | {"threads": 2}
    assert "| cpu, 2 threads |" in render([row | {"device": "cpu"}])
    assert "| NVIDIA H100 |" in render([row | {"device": "NVIDIA H100"}])
