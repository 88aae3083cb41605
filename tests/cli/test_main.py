"""The frame of the command line: exits, messages, lazy imports, config options."""

import argparse
import errno
import json
import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from acim_jax import bad_input
from acim_jax.cli import main


def test_help_names_every_command_without_importing_jax() -> None:
    code = (
        "import sys; from acim_jax.cli import main\n"
        "try: main.main(['--help'])\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "assert not {'jax', 'numpy', 'transformers', 'acim_jax.config'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    words = " ".join(done.stdout.split())
    for name, command in main.COMMANDS.items():
        assert f" {name} {command.help} " in words


@pytest.mark.parametrize(
    "arguments", [[], ["trian"], ["doctor", "--jsn"], ["doctor", "--js"], ["--", "doctor"]]
)
def test_a_wrong_command_line_exits_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main.main(arguments)
    assert stop.value.code == 2
    assert "acim" in capsys.readouterr().err


Probe = Callable[[Callable[[argparse.Namespace], int], main.Command], None]


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Probe:
    """Adds a command `probe` with the given `run`."""

    def add(run: Callable[[argparse.Namespace], int], command: main.Command) -> None:
        def add_arguments(parser: argparse.ArgumentParser) -> None:
            """A probe.

            example: acim probe x
            """
            parser.add_argument("config")
            parser.add_argument("--out")

        for name, content in (("arguments.probes", add_arguments), ("probe", run)):
            module = types.ModuleType(f"acim_jax.cli.{name}")
            module.__dict__.update(probe=content, run=content)
            monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(main.COMMANDS, "probe", command)

    return add


def test_bad_input_is_one_message_and_2(probe: Probe, capsys: pytest.CaptureFixture[str]) -> None:
    def run(args: argparse.Namespace) -> int:
        with bad_input.reading():
            Path(args.config).read_text()
        return 0

    probe(run, main.Command("a probe", "probes"))
    assert main.main(["probe", "/no/such.yaml"]) == 2
    assert capsys.readouterr().err == "acim: /no/such.yaml: no such file or directory\n"


def test_a_value_error_is_a_defect_unless_the_command_only_reads(
    probe: Probe, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(args: argparse.Namespace) -> int:
        raise ValueError("rows.jsonl:3: not JSON")

    probe(run, main.Command("a probe", "probes", only_reads=True))
    assert main.main(["probe", "x"]) == 2
    assert capsys.readouterr().err == "acim: rows.jsonl:3: not JSON\n"
    probe(run, main.Command("a probe", "probes"))
    with pytest.raises(ValueError, match=r"rows.jsonl:3"):  # the interpreter exits with 1
        main.main(["probe", "x"])


def test_ctrl_c_exits_with_1_and_says_how_to_go_on(
    probe: Probe, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(args: argparse.Namespace) -> int:
        args.resume_hint = "acim train --resume r"
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
        return 0

    before = signal.getsignal(signal.SIGTERM)
    try:
        probe(run, main.Command("a probe", "probes"))
        assert main.main(["probe", "x"]) == 1
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capsys.readouterr().err == "acim: stopped; go on with: acim train --resume r\n"


@pytest.mark.parametrize("only_reads", [True, False])
@pytest.mark.parametrize(
    ("number", "hint", "said"),
    [
        (errno.ENOSPC, None, "r/a: no space left on device; make room, then start again"),
        (errno.EDQUOT, None, "r/a: disk quota exceeded; make room, then start again"),
        (errno.ENOSPC, "x", "r/a: no space left on device; make room, then go on with: x"),
        (errno.EIO, "x", "r/a: input/output error; go on with: x"),
    ],
)
def test_a_disk_that_fails_is_no_bad_input(
    probe: Probe,
    capsys: pytest.CaptureFixture[str],
    only_reads: bool,
    number: int,
    hint: str | None,
    said: str,
) -> None:
    def run(args: argparse.Namespace) -> int:
        args.resume_hint = hint
        raise OSError(number, os.strerror(number), "r/a")

    probe(run, main.Command("a probe", "probes", only_reads=only_reads))
    assert main.main(["probe", "x"]) == 1
    assert capsys.readouterr().err == f"acim: {said}\n"


def test_other_errors_of_the_system_are_defects(probe: Probe) -> None:
    def run(args: argparse.Namespace) -> int:
        raise ConnectionResetError(errno.ECONNRESET, "reset")

    probe(run, main.Command("a probe", "probes"))
    with pytest.raises(ConnectionResetError):
        main.main(["probe", "x"])


def test_config_options_reach_a_command_that_takes_them(
    probe: Probe, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[argparse.Namespace] = []

    def run(args: argparse.Namespace) -> int:
        seen.append(args)
        return 7

    line = ["probe", "--improve.lr", "-1", "--seed=3", "run.yaml", "--out", "r"]
    probe(run, main.Command("a probe", "probes", config_options=True))
    assert main.main(line) == 7
    assert seen[0].overrides == [("improve.lr", "-1"), ("seed", "3")]
    assert (seen[0].config, seen[0].out) == ("run.yaml", "r")

    assert main.main(["probe", "run.yaml", "--improve.lr"]) == 2
    assert capsys.readouterr().err == "acim: --improve.lr: a value must follow\n"
    probe(run, main.Command("a probe", "probes"))
    with pytest.raises(SystemExit):
        main.main(line)


def test_only_dotted_options_are_config_fields() -> None:
    line = ["--run.name=a=b", "--dry-run", "--seeds", "2", "a.b", "--model", "tiny"]
    assert main.split_overrides(line) == ([("run.name", "a=b")], line[1:])


def test_doctor_finds_the_devices_and_the_executors_layers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main.main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [device["id"] for device in found["devices"]] == list(range(8))  # see conftest.py
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["executor"]["layers"]["cpu_and_wall_time"] is True
    assert main.main(["doctor"]) == 0
    assert yaml.safe_load(capsys.readouterr().err).keys() == found.keys()
