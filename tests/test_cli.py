"""The command line as users see it: exit codes, one line per error, only JSON on stdout, nothing left behind."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pathlib
import resource
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import bincompress as bc
from bincompress import cli, zoo

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
FACTORY = ("--factory", "bincompress.zoo:digits_cnn")
RECIPE = "method: xnor\ntrain: {batch_size: 64, bn_reestimate_batches: 4, stages: [{name: both, epochs: 1}]}\n"


@dataclass(frozen=True)
class Done:
    """What a command left: like subprocess.CompletedProcess."""

    returncode: int
    stdout: str
    stderr: str


def bincompress(*arguments: object, cwd: pathlib.Path) -> Done:
    """Run a command in this process, which spares the seconds that importing torch takes."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.chdir(cwd)
        patch.setattr(sys, "argv", ["bincompress", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0
    return Done(code, out.getvalue(), err.getvalue())


def in_new_process(*arguments: object, cwd: pathlib.Path) -> Done:
    env = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
    return Done(done.returncode, done.stdout, done.stderr)


def refused(code: int, *arguments: object, cwd: pathlib.Path) -> str:
    """Run a command that must fail with `code`, one line on stderr and nothing new in the folder."""
    before = sorted(cwd.rglob("*"))
    done = bincompress(*arguments, cwd=cwd)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert sorted(cwd.rglob("*")) == before, "something was left behind"
    return done.stderr.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with a float model, a recipe, and what one `convert --json` made of them."""
    folder = tmp_path_factory.mktemp("cli")
    torch.manual_seed(0)
    save_file(zoo.digits_cnn().state_dict(), folder / "float.safetensors")
    (folder / "r.yaml").write_text(RECIPE)
    done = bincompress(
        *("convert", "float.safetensors", *FACTORY, "--recipe", "r.yaml", "--data", "digits", "-o", "a.gguf", "--json"),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    (folder / "convert.json").write_text(done.stdout)
    np.save(folder / "x.npy", np.zeros((2, 1, 8, 8), np.uint8))
    return folder


def test_help_is_fast_and_needs_no_torch(tmp_path: pathlib.Path) -> None:
    seconds = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = in_new_process("-m", "bincompress", "--help", cwd=tmp_path)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.returncode == 0
    assert "convert" in done.stdout
    assert min(seconds) < 0.3, seconds  # CPU time, for other tests run beside this one
    probe = (
        "import sys, bincompress.cli; sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'rich', 'pydantic')))"
    )
    assert in_new_process("-c", probe, cwd=tmp_path).returncode == 0


def test_every_command_has_help(tmp_path: pathlib.Path) -> None:
    text = bincompress("--help", cwd=tmp_path).stdout
    for command in ("convert", "finetune", "eval", "verify", "bench", "inspect", "run", "recipe", "demo"):
        assert f"\n  {command} " in text
        assert bincompress(command, "--help", cwd=tmp_path).returncode == 0


def test_convert_prints_one_object_with_the_promised_keys(work: pathlib.Path) -> None:
    result: dict[str, Any] = json.loads((work / "convert.json").read_text())
    assert {"output", "bytes", "float_bytes", "compression", "layers", "accuracy", "verify", "gates"} <= set(result)
    assert {"name", "op", "decision", "method", "reason", "macs", "weight_bits"} <= set(result["layers"][0])
    assert set(result["accuracy"]) == {"float", "binary"}
    assert result["verify"]["integer_mismatches"] == 0
    assert result["verify"]["top1_agreement"] >= 0.998
    assert {"samples", "boundary_flips", "max_abs_diff"} <= set(result["verify"])
    assert result["bytes"] == (work / "a.gguf").stat().st_size
    assert result["seconds"] > 0


def test_the_same_input_gives_the_same_bytes(work: pathlib.Path) -> None:
    arguments = ("convert", "float.safetensors", *FACTORY, "--recipe", "r.yaml", "--data", "digits", "-o", "again.gguf")
    assert bincompress(*arguments, cwd=work).returncode == 0
    assert (work / "again.gguf").read_bytes() == (work / "a.gguf").read_bytes()


def test_a_checkpoint_exports_to_the_same_bytes(work: pathlib.Path) -> None:
    done = bincompress("convert", "a.ckpt", "-o", "exported.gguf", "--val", "digits", cwd=work)
    assert done.returncode == 0, done.stderr
    assert (work / "exported.gguf").read_bytes() == (work / "a.gguf").read_bytes()


def test_eval_of_packed_checkpoint_and_float(work: pathlib.Path) -> None:
    results = []
    for model in ("a.gguf", "a.ckpt"):
        done = bincompress("eval", model, "--data", "digits", "--json", cwd=work)
        assert done.returncode == 0, done.stderr
        results.append(json.loads(done.stdout))
        assert set(results[-1]) == {"top1", "top5", "samples", "seconds"}
    assert results[0]["top1"] == pytest.approx(results[1]["top1"], abs=0.003)
    accuracy = json.loads((work / "convert.json").read_text())["accuracy"]
    assert results[0]["top1"] == accuracy["binary"]
    done = bincompress("eval", "float.safetensors", *FACTORY, "--data", "digits#test", "--json", cwd=work)
    assert json.loads(done.stdout)["top1"] == accuracy["float"]


def test_verify_against_checkpoint_and_float_model(work: pathlib.Path) -> None:
    done = bincompress(
        "verify", "a.gguf", "--against", "a.ckpt", "--data", "digits", "--samples", 20, "--json", cwd=work
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["samples"], result["integer_mismatches"]) == (20, 0)
    done = bincompress(
        "verify", "a.gguf", "--against", "float.safetensors", *FACTORY, "--data", "digits", "--json", cwd=work
    )
    assert json.loads(done.stdout)["integer_mismatches"] is None, "nothing is known of a float model's integers"


def test_verify_of_another_network_fails_with_4(work: pathlib.Path) -> None:
    torch.manual_seed(1)
    save_file(zoo.digits_cnn().state_dict(), work / "other.safetensors")
    arguments = ("convert", "other.safetensors", *FACTORY, "--recipe", "r.yaml", "--data", "digits", "--epochs", 0)
    assert bincompress(*arguments, "-o", "other.gguf", cwd=work).returncode == 0
    done = bincompress("verify", "other.gguf", "--against", "a.ckpt", "--data", "digits", "--samples", 8, cwd=work)
    assert done.returncode == 4
    assert done.stderr.strip().splitlines()[-1].startswith("error: other.gguf: layer conv1: ")


def test_run_writes_the_logits_of_the_python_api(work: pathlib.Path) -> None:
    done = bincompress("run", "a.gguf", "--input", "x.npy", "--output", "y.npy", cwd=work)
    assert done.returncode == 0, done.stderr
    logits = bc.load(work / "a.gguf")(np.load(work / "x.npy"))
    assert np.array_equal(np.load(work / "y.npy"), logits)
    assert "exists" in refused(2, "run", "a.gguf", "--input", "x.npy", "--output", "y.npy", cwd=work)
    (work / "bad.npy").write_text("no")
    assert "bad.npy: not a readable .npy" in refused(
        3, "run", "a.gguf", "--input", "bad.npy", "--output", "z.npy", cwd=work
    )


def test_inspect_shows_bits_per_weight_of_every_layer(work: pathlib.Path) -> None:
    done = bincompress("inspect", "a.gguf", "--json", cwd=work)
    result = json.loads(done.stdout)
    binary = [layer for layer in result["layers"] if layer["op"].startswith("binary_")]
    assert len(binary) == 2
    assert all(layer["bits_per_weight"] <= 1.02 for layer in binary)
    assert "method: xnor" in result["recipe"]
    assert len(result["meta"]["source_sha256"]) == 64
    assert "conv2" in bincompress("inspect", "a.gguf", cwd=work).stdout


def test_dry_run_shows_the_plan_and_writes_nothing(work: pathlib.Path) -> None:
    before = sorted(work.rglob("*"))
    arguments = ("convert", "float.safetensors", *FACTORY, "--recipe", "r.yaml", "--dry-run")
    done = bincompress(*arguments, cwd=work)
    assert done.returncode == 0, done.stderr
    assert "first layer: layers.first is float" in done.stdout
    rows = json.loads(bincompress(*arguments, "--json", cwd=work).stdout)["layers"]
    assert [row["decision"] for row in rows] == ["float", "binary", "binary", "float"]
    assert sorted(work.rglob("*")) == before


def test_conversion_without_data_or_training(work: pathlib.Path, tmp_path: pathlib.Path) -> None:
    arguments = ("convert", work / "float.safetensors", *FACTORY, "--recipe", work / "r.yaml", "--epochs", 0, "--json")
    done = bincompress(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["output"] == "float-xnor.gguf"
    assert result["accuracy"] == {"float": None, "binary": None}
    assert any("not trained" in note for note in result["notes"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["float-xnor.ckpt", "float-xnor.gguf"]


def test_what_exists_is_kept_without_force(work: pathlib.Path) -> None:
    arguments = ("convert", "float.safetensors", *FACTORY, "--recipe", "r.yaml", "--data", "digits", "-o", "a.gguf")
    assert "a.gguf exists; --force overwrites it" in refused(2, *arguments, cwd=work)
    (work / "b.ckpt").mkdir(exist_ok=True)
    (work / "b.ckpt" / "mine.txt").write_text("mine")
    message = refused(2, *arguments[:-1], "b.gguf", "--force", cwd=work)
    assert "b.ckpt exists and is no checkpoint" in message, "--force never deletes what it did not make"


def test_a_failed_gate_ends_with_1_and_still_reports(work: pathlib.Path) -> None:
    (work / "gate.yaml").write_text(RECIPE + "gates: {max_bytes: 1000, max_float_macs: 0.5}\n")
    arguments = (
        "convert",
        "float.safetensors",
        *FACTORY,
        "--recipe",
        "gate.yaml",
        "--epochs",
        0,
        "-o",
        "g.gguf",
        "--json",
    )
    done = bincompress(*arguments, cwd=work)
    assert done.returncode == 1
    gates = {gate["name"]: gate for gate in json.loads(done.stdout)["gates"]}
    assert gates["max_float_macs"]["passed"]
    assert not gates["max_bytes"]["passed"]
    assert gates["max_bytes"]["value"] == (work / "g.gguf").stat().st_size
    assert "max_bytes" in done.stderr


def test_gates_that_cannot_be_measured_are_refused(work: pathlib.Path) -> None:
    (work / "drop.yaml").write_text(RECIPE + "gates: {max_drop: 0.1}\n")
    arguments = ("convert", "float.safetensors", *FACTORY, "--recipe", "drop.yaml", "--epochs", 0, "-o", "h.gguf")
    assert refused(2, *arguments, cwd=work).startswith("error: drop.yaml:3:9: gates.max_drop: needs data")


@pytest.mark.parametrize(
    ("code", "expected", "arguments"),
    [
        (2, "training needs data", ("convert", "float.safetensors", *FACTORY, "--recipe", "r.yaml")),
        (2, "--recipe is missing", ("convert", "float.safetensors", *FACTORY)),
        (2, "no such recipe", ("convert", "float.safetensors", *FACTORY, "--recipe", "nothing")),
        (2, "train.sed: unknown key", ("convert", "float.safetensors", "--recipe", "r.yaml", "--set", "train.sed=1")),
        (2, "no such folder", ("convert", "float.safetensors", "--recipe", "r.yaml", "-o", "none/a.gguf")),
        (2, "a.ckpt is a checkpoint", ("convert", "a.ckpt", "--recipe", "r.yaml")),
        (2, "a.ckpt is a checkpoint", ("finetune", "a.ckpt", "--resume", "--recipe", "r.yaml", "--data", "digits")),
        (2, "--recipe is missing", ("finetune", "a.ckpt", "--data", "digits")),
        (3, "images are 1x8x8", ("eval", "zoo:resnet20", "--data", "digits")),
        (2, "--input-shape 3,32", ("convert", "float.safetensors", "--recipe", "r.yaml", "--input-shape", "3,32")),
        (2, "--data is missing", ("eval", "a.gguf")),
        (2, "is no known kind of data", ("eval", "a.gguf", "--data", "cifra10:x")),
        (2, "either a packed file or --kernels", ("bench",)),
        (2, "--layers: --kernels times", ("bench", "--kernels", "--layers")),
        (2, "--factory: a.ckpt is a checkpoint", ("convert", "a.ckpt", *FACTORY)),
        (2, "a.ckpt is a checkpoint", ("finetune", "a.ckpt", "--resume", *FACTORY, "--data", "digits")),
        (2, "No such option", ("convert", "--nonsense")),
        (2, "No such command", ("convrt",)),
        (3, "absent.pth", ("convert", "absent.pth", *FACTORY, "--recipe", "r.yaml", "--epochs", 0)),
        (3, "r.yaml", ("convert", "r.yaml", *FACTORY, "--recipe", "r.yaml", "--epochs", 0)),
        (3, "absent.gguf", ("inspect", "absent.gguf")),
        (3, "absent: no such file", ("eval", "a.gguf", "--data", "mnist:absent")),
    ],
)
def test_mistakes_give_one_line_and_their_exit_code(
    work: pathlib.Path, code: int, expected: str, arguments: tuple[object, ...]
) -> None:
    assert expected in refused(code, *arguments, cwd=work)


def test_a_truncated_or_damaged_file_is_refused_with_3(work: pathlib.Path) -> None:
    whole = (work / "a.gguf").read_bytes()
    for name, content in (("cut.gguf", whole[:-100]), ("head.gguf", whole[:40]), ("empty.gguf", b"")):
        (work / name).write_bytes(content)
        for command in (("inspect",), ("eval", "--data", "digits"), ("bench",)):
            assert name in refused(3, command[0], name, *command[1:], cwd=work)
    damaged = bytearray(whole)
    damaged[-1000] ^= 1
    (work / "damaged.gguf").write_bytes(damaged)
    assert "damaged.gguf" in refused(3, "inspect", "damaged.gguf", cwd=work)


def test_a_pickled_module_is_refused_without_trust(work: pathlib.Path) -> None:
    torch.save(zoo.digits_cnn(), work / "pickled.pt")
    arguments = ("convert", "pickled.pt", "--recipe", "r.yaml", "--epochs", 0, "--input-shape", "1,8,8", "-o", "p.gguf")
    message = refused(3, *arguments, cwd=work)
    assert "--trust" in message
    assert "--factory" in message
    assert bincompress(*arguments, "--trust", cwd=work).returncode == 0


def test_finetune_stops_and_resumes_by_its_directory(work: pathlib.Path) -> None:
    arguments = (
        "finetune",
        "float.safetensors",
        *FACTORY,
        "--recipe",
        "r.yaml",
        "--data",
        "digits",
        "-o",
        "f.ckpt",
        "--json",
    )
    done = bincompress(*arguments, cwd=work)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["epochs"] == 1
    assert bincompress("finetune", "f.ckpt", "--resume", "--data", "digits", cwd=work).returncode == 0
    assert "--resume" in refused(2, *arguments, cwd=work)
    more = ("finetune", "f.ckpt", "--recipe", "r.yaml", "--set", "train.seed=1", "--data", "digits")
    done = bincompress(*more, "--json", cwd=work)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["checkpoint"] == "f-more.ckpt"
    assert "f.ckpt exists" in refused(2, *more, "-o", "f.ckpt", "--force", cwd=work), "never in place of its source"


def test_an_internal_error_is_one_line_with_a_hint(work: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def boom(*_: object, **__: object) -> None:
        raise ZeroDivisionError("boom")

    monkeypatch.setattr(sys.modules["bincompress.evaluate"], "evaluate", boom)
    done = bincompress("eval", "a.gguf", "--data", "digits", cwd=work)
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr == (
        "internal error: ZeroDivisionError: boom; set BINCOMPRESS_DEBUG=1 for the traceback and report it\n"
    )
    monkeypatch.setenv("BINCOMPRESS_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        bincompress("eval", "a.gguf", "--data", "digits", cwd=work)


def test_an_interrupt_ends_with_130_and_leaves_what_was_trained(
    work: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("convert", "float.safetensors", *FACTORY, "--recipe", "r.yaml", "--data", "digits", "--epochs", 3)
    steps = iter(range(40))

    def stop_in_the_second_epoch(*_: object) -> None:
        if next(steps) == 30:
            raise KeyboardInterrupt

    monkeypatch.setattr("bincompress.finetune.step.clip_latents", stop_in_the_second_epoch)
    done = bincompress(*arguments, "-o", "stopped.gguf", cwd=work)
    assert done.returncode == 130, done.stderr
    assert done.stderr.endswith("interrupted\n")
    assert "finetune stopped.ckpt --resume" in done.stderr
    assert not (work / "stopped.gguf").exists()
    monkeypatch.undo()
    assert "has not ended" in refused(2, "convert", "stopped.ckpt", "-o", "stopped.gguf", cwd=work)
    assert bincompress("finetune", "stopped.ckpt", "--resume", "--data", "digits", cwd=work).returncode == 0
    assert bincompress("convert", "stopped.ckpt", "-o", "stopped.gguf", "--val", "digits", cwd=work).returncode == 0
    assert bincompress(*arguments, "-o", "straight.gguf", cwd=work).returncode == 0
    assert (work / "stopped.gguf").read_bytes() == (work / "straight.gguf").read_bytes()


def test_stdout_holds_the_object_alone_in_a_process_of_its_own(work: pathlib.Path) -> None:
    done = in_new_process("-m", "bincompress", "verify", "a.gguf", "--against", "a.ckpt", "--json", cwd=work)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert json.loads(done.stdout)["integer_mismatches"] == 0


def test_recipe_commands(tmp_path: pathlib.Path) -> None:
    listed = bincompress("recipe", "list", cwd=tmp_path)
    assert listed.returncode == 0
    assert "xnor" in listed.stdout
    shown = bincompress("recipe", "show", "xnor", "--set", "train.seed=9", cwd=tmp_path)
    assert "seed: 9" in shown.stdout
    (tmp_path / "shown.yaml").write_text(shown.stdout)
    assert bincompress("recipe", "validate", "shown.yaml", "bnn", cwd=tmp_path).returncode == 0
    (tmp_path / "wrong.yaml").write_text("method: xnor\nlayerz: {}\n")
    done = bincompress("recipe", "validate", "wrong.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: wrong.yaml:2:1: layerz: unknown key; known: ")
    assert json.loads(bincompress("recipe", "schema", cwd=tmp_path).stdout)["title"] == "Recipe"


def test_torch_threads_are_told_to_sleep_while_they_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["bincompress", "--version"])
    monkeypatch.setenv("OMP_WAIT_POLICY", "")
    monkeypatch.delenv("OMP_WAIT_POLICY")
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
