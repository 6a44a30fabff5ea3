"""Progress: bars on a terminal only, one line per epoch elsewhere, and the message of an interrupt."""

from __future__ import annotations

import io

import pytest

from bincompress.cli import render
from bincompress.finetune import Progress

EPOCH = Progress("both", 1, 2, 10, 10, 0.5, 0.75, 0.01, 3.0, 3.0, 0.8)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO) -> str:
    monkeypatch.setattr("sys.stderr", stream)
    with render.reporter() as reporter:
        reporter.stage("training")
        reporter.training(Progress("both", 1, 2, 5, 10, 0.7, 0.6, 0.02, 1.0, 5.0))
        reporter.training(EPOCH)
    return stream.getvalue()


def test_a_log_has_one_line_per_stage_and_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, io.StringIO()).splitlines() == [
        "training",
        "both: epoch 1/2  loss 0.500  train 75.00 %  val 80.00 %  flips 1.00%  3 s left",
    ]


def test_a_terminal_has_a_bar_and_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    text = shown(monkeypatch, Terminal())
    assert "both: epoch 1/2" in text
    assert "\x1b[" in text, "the bar moves the cursor"
    assert "\x1b[3" not in text, "no colours"


def test_an_interrupt_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    with pytest.raises(KeyboardInterrupt), render.reporter():
        raise KeyboardInterrupt("go on with finetune x --resume")
    assert stream.getvalue() == "go on with finetune x --resume\n"
