"""`acim ask`: what is shown while it comes is what the model wrote, and harmless to a terminal."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import rich.console

from acim_jax.cli import main
from acim_jax.cli.transcript import Transcript
from acim_jax.markup import Markup
from acim_jax.records import Author, Problem, RolloutRequest, SamplingParams, Segment
from acim_jax.rollout import converse
from tests.support import tiny_models

QUESTION = "What is 79 + 3?"
CODE = "Let me code.\n```python\nprint(79 * 92)\n```"
OUTPUT = "\n```output\n7268\n```\n"


def show(console: rich.console.Console, *, pieces: int = 1) -> None:
    """A response with code and output, the model's part in `pieces` tokens a segment."""
    tokenizer = tiny_models.load_tokenizer()
    transcript = Transcript(console, tokenizer, Markup(), frozenset([tokenizer.eos_id]))
    transcript.add(Segment(Author.PROMPT, tokenizer.encode("<|user|>secret<|assistant|>")))
    for author, text in (
        (Author.MODEL, CODE),
        (Author.OUTPUT, OUTPUT),
        (Author.MODEL, "Es ist \\boxed{7268} – größer als π.\x1b[2J"),
    ):
        ids = tokenizer.encode(text)
        step = pieces if author is Author.MODEL else len(ids)
        for at in range(0, len(ids), step):
            transcript.add(Segment(author, ids[at : at + step]))
    transcript.add(Segment(Author.MODEL, np.array([tokenizer.eos_id], np.int32)))
    transcript.close()


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("pieces", [1, 3])
def test_a_transcript_is_the_response_whatever_pieces_it_comes_in(
    terminal: bool, pieces: int
) -> None:
    file = io.StringIO()
    console = rich.console.Console(file=file, force_terminal=terminal, color_system=None, width=200)
    show(console, pieces=pieces)
    # The command that would clear the screen is no command any more.
    wanted = CODE + OUTPUT + "Es ist \\boxed{7268} – größer als π.\ufffd[2J\n"
    assert file.getvalue() == wanted


def test_code_is_coloured_as_code_and_output_as_output() -> None:
    file = io.StringIO()
    show(rich.console.Console(file=file, force_terminal=True, color_system="truecolor", width=200))
    lines = file.getvalue().splitlines()
    code = next(line for line in lines if "print" in line)
    assert code.count("\x1b[38;2") >= 3  # the name, the numbers
    assert "\x1b[36m7268\x1b[0m" in lines  # cyan
    assert next(line for line in lines if "boxed" in line).count("\x1b") == 0


def test_ask_shows_and_returns_the_rollout_that_converse_makes(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["ask", "--model", str(model), "--decision", "text", "--temperature", "1",
                 "--seed", "5", "--max-length", "64", QUESTION, "--json"]  # fmt: skip
    assert main.main(arguments) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    sampler = tiny_models.make_sampler(max_length=64)
    problem = Problem("question", QUESTION, "")
    (episode,), _ = converse.converse(
        tiny_models.make_params(),
        [RolloutRequest(problem, "text", 0, "Think: ")],
        sampler,
        None,
        seed=5,
        iteration=-1,
        sampling=SamplingParams(1.0),
    )
    assert found["text"] == episode.text
    assert found["question"] == QUESTION
    assert [s["token_ids"] for s in found["segments"]] == [
        s.token_ids.tolist() for s in episode.segments
    ]
    assert (found["guide"], found["decision"], found["executions"]) == ("text", "text", [])
    assert len(episode.segments) == 3
    start = printed.err.index("Think: ")
    assert printed.err[start : start + 12] == episode.text[:12]


def test_a_program_is_run_and_its_output_shown(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The random model's code is no Python, so the interpreter's complaint has to be shown."""
    arguments = ["ask", "--model", str(model), "--decision", "code", "--temperature", "1",
                 "--seed", "1", "--max-length", "200", "--json", QUESTION]  # fmt: skip
    assert main.main(arguments) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["executions"], found["text"]
    assert found["decision"] == "code"
    output = next(s["text"] for s in found["segments"] if s["author"] == "OUTPUT")
    assert output in found["text"]
    assert output in printed.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["  "], "empty"),
        (["why " * 300], "tokens"),
        (["\udcff"], "surrogate"),
        (["--temperature", "-1", "x"], "--temperature"),
        (["--max-length", "999", "x"], "256"),
        (["--cpu-seconds", "0", "x"], "cpu_seconds"),
        (["--modules", "no_such_module", "x"], "no_such_module"),
        (["--markup", "turns=3", "--decision=text", "x"], "max_turns"),
        (["--markup", "max_turns=many", "--decision=text", "x"], "max_turns"),
        (["--markup", "template=nothing", "--decision=text", "x"], "{problem}"),
    ],
)
def test_bad_input_is_refused(
    model: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main.main(["ask", "--model", str(model), *arguments]) == 2
    assert said in capsys.readouterr().err
