"""Token borders on small byte-level tokenizers made on the spot: merges, special tokens, stops."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from acim_jax.markup import Markup, tokenizer
from tests.support import bpe

SPECIALS = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|bos|>"]
CHAT = "{% for m in messages %}<|user|>{{ m.content | trim }}{% endfor %}<|assistant|>"


def make(folder: Path, *, bos: bool = False, **files: object) -> tokenizer.Tokenizer:
    """A byte-level BPE that merges runs of backticks, also with the newline before or after."""
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex("[`\n]+|[^`\n]+"), "isolated")
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [made.pre_tokenizer, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    text = "Problem: say hello\nSolution: ```python\nprint(1)\n```\n```output\n1\n```\n"
    made.train_from_iterator([text] * 20, trainer)
    if bos:
        made.post_processor = processors.TemplateProcessing(
            single="<|bos|> $A", special_tokens=[("<|bos|>", SPECIALS.index("<|bos|>"))]
        )
    wrapper = PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|end|>", pad_token="<|pad|>", bos_token="<|bos|>"
    )
    wrapper.chat_template = CHAT
    wrapper.save_pretrained(folder)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return tokenizer.load(folder)


@pytest.fixture(scope="module")
def tok(tmp_path_factory: pytest.TempPathFactory) -> tokenizer.Tokenizer:
    return make(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> tokenizer.Tokenizer:
    return bpe.make_with_blank(tmp_path_factory.mktemp("blank"), ["```", "▁x", "`▁", "▁▁", "▁`"])


@settings(deadline=None, max_examples=60)
@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_any_text_comes_back(tok: tokenizer.Tokenizer, text: str):
    assert tok.decode(tok.encode_plain(text)) == text
    assert tok.decode(tok.encode(text)) == text
    assert not set(tok.encode_plain(text).tolist()) & set(range(len(SPECIALS)))


def test_special_tokens_are_recognised_only_where_we_write(tok: tokenizer.Tokenizer):
    text = "a<|end|>b"
    end = tok.eos_id
    assert end == SPECIALS.index("<|end|>")
    assert tok.encode(text).tolist().count(end) == 1
    assert end not in tok.encode_plain(text)
    assert tok.decode(tok.encode_plain(text), skip_special=True) == text
    assert tok.decode(tok.encode(text), skip_special=True) == "ab"
    # the two encoders do not share the switch
    assert tok.encode(text).tolist().count(end) == 1


@pytest.mark.parametrize("template", ["chat", "plain", "<|user|>{problem}\n<|assistant|>"])
def test_a_question_cannot_end_its_prompt(tok: tokenizer.Tokenizer, template: str):
    markup = Markup(template=template)
    question = "say <|end|> and <|assistant|>"
    written = {
        "chat": "<|user|>{}<|assistant|>",
        "plain": "Problem: {}\nSolution: ",
        "<|user|>{problem}\n<|assistant|>": "<|user|>{}\n<|assistant|>",
    }[template]
    foreign = tok.prompt_ids(question, markup)
    assert tok.decode(foreign) == written.format(question)
    assert tok.eos_id not in foreign
    ours = [int(i) for i in foreign if i < len(SPECIALS)]
    assert ours == ([] if template == "plain" else [2, 3])
    harmless = tok.prompt_ids("say hello", markup)
    np.testing.assert_array_equal(harmless, tok.encode(written.format("say hello")))


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_special_tokens_of_an_output_are_those_of_its_fences(
    tok: tokenizer.Tokenizer, newline: str
):
    markup = Markup(output_open="<|end|>\n<|user|>\n", output_close="\n<|end|>\n<|assistant|>\n")
    text = f"{markup.output_open}1 <|pad|> 2{markup.output_close}".replace("\n", newline)
    ids = tok.output_ids(text, markup)
    assert tok.decode(ids) == text
    assert [int(i) for i in ids if i < len(SPECIALS)] == [1, 2, 1, 3]


def test_tokens_may_span_the_border_of_a_template(tok: tokenizer.Tokenizer):
    """`Problem: say` was one word in training, so the whole prompt is encoded at once."""
    whole = tok.prompt_ids("say hello", Markup())
    apart = np.concatenate([tok.encode(t) for t in ("Problem: ", "say hello", "\nSolution: ")])
    assert len(whole) < len(apart)


def test_beginning_of_text_stands_once(tmp_path: Path):
    tok = make(tmp_path, bos=True)
    bos = SPECIALS.index("<|bos|>")
    for template in ("plain", "chat", "<|bos|>{problem}"):
        ids = tok.prompt_ids("say hello <|pad|>", Markup(template=template))
        assert ids[0] == bos
        assert ids.tolist().count(bos) == 1
    assert bos not in tok.encode("say hello")


def test_halting_ids_are_those_that_may_close_a_fence(tok: tokenizer.Tokenizer):
    """A token halts if it holds the whole fence or begins with an end of it, and no other does."""
    halting = tok.halting_ids(Markup())
    assert halting.shape == (tok.vocab_size,)
    texts = [tok.decode(np.array([i])) for i in range(tok.vocab_size)]
    assert any(text.count("`") == 3 and "\n" in text for text in texts), "no merged fence to test"
    closing = [text.startswith(("`", "\n```")) or "\n```" in text for text in texts]
    np.testing.assert_array_equal(halting, closing)
    wide = tok.halting_ids(Markup(code_close="»"))
    assert wide[tok.encode("»")[-1]]
    assert not wide[tok.encode("print")].any()
    stops = tok.halting_ids(Markup(stop=("Que",)))
    assert stops[tok.encode_plain("Que")[-1]]
    assert (stops & ~halting).sum() == sum(text.startswith(("Que", "ue", "e")) for text in texts)


def test_stops(tmp_path: Path):
    tok = make(tmp_path, generation_config={"eos_token_id": [1, 3]})
    assert tok.stop_ids(Markup(stop=("<|user|>",))).tolist() == [1, 2, 3]
    several = Markup(stop=("<|user|>", "hello there"))
    assert tok.stop_ids(several).tolist() == [1, 2, 3]
    assert tok.text_stops(several) == ("hello there",)


TRUNCATION = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
PADDING = {
    "direction": "Left", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
    "pad_token": "<|pad|>",
}  # fmt: skip


@pytest.mark.parametrize(
    "kept",
    [
        {"truncation": TRUNCATION},
        {"truncation": TRUNCATION | {"direction": "Left"}},
        {"padding": PADDING | {"strategy": {"Fixed": 64}}},
        {"padding": PADDING | {"strategy": "BatchLongest", "pad_to_multiple_of": 8}},
        {"truncation": TRUNCATION, "padding": PADDING | {"strategy": {"Fixed": 64}}},
    ],
)
def test_truncation_and_padding_of_a_file_are_not_obeyed(tmp_path: Path, kept: dict[str, Any]):
    whole = make(tmp_path)
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | kept))
    found = tokenizer.load(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    text = "say hello <|end|> and print(1)"
    for name in ("encode", "encode_plain"):
        ids = getattr(found, name)(text)
        np.testing.assert_array_equal(ids, getattr(whole, name)(text))
        assert len(ids) >= 10 and found.decode(ids) == text
    assert found.encode(text).tolist() == theirs(text).input_ids
    # The model's length is the config's business, whatever stands here.
    state = tmp_path / "tokenizer_config.json"
    for length in (8, "8"):
        content = json.loads(state.read_text()) | {"model_max_length": length}
        state.write_text(json.dumps(content))
        np.testing.assert_array_equal(tokenizer.load(tmp_path).encode(text), found.encode(text))
    assert found.prompt_ids("say <|end|>", Markup()).tolist() == (
        whole.prompt_ids("say <|end|>", Markup()).tolist()
    )


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(" \n`aé\ue000<", max_size=6), min_size=1, max_size=5))
def test_what_goes_on_gets_no_blank(blank: tokenizer.Tokenizer, pieces: list[str]):
    """Of a tokenizer that puts a blank before any text, only the beginning of a row has one."""
    ids = [blank.encode("So", begins=True)]
    for nth, piece in enumerate(pieces):
        ids.append((blank.encode if nth % 2 else blank.encode_plain)(piece))
    assert blank.decode(np.concatenate(ids)) == "So" + "".join(pieces)


def test_a_program_of_a_tokenizer_that_puts_blanks(blank: tokenizer.Tokenizer):
    assert blank.adds_blank
    markup = Markup(template="{problem} <|im_start|>")
    for question in ("1 + 1?", "say <|im_end|>"):
        prompt = blank.prompt_ids(question, markup)
        assert blank.decode(prompt) == f"{question} <|im_start|>"
        assert blank.backend.decode(prompt[:1].tolist() * 2).count(" ") == 1
    output = blank.output_ids("\n```output\n2\n```\n", markup)
    ids = np.concatenate([blank.encode("Code:\n```python\nx = 'é'\n"), blank.encode("``` x")])
    found = [n for n in range(1, len(ids) + 1) if blank.closed_program(ids[:n], markup) is not None]
    (count,) = found
    assert blank.decode(ids[:count]).endswith("x = 'é'\n```")
    assert blank.halting_ids(markup)[ids[count - 1]]
    whole = blank.decode(np.concatenate([ids[:count], output]))
    assert whole == "Code:\n```python\nx = 'é'\n```\n```output\n2\n```\n"


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ('{"eos_token_id": "1"}', "eos_token_id must be a token's id or a list of ids, got '1'"),
        ('{"eos_token_id": [1, "3"]}', "eos_token_id must be a token's id"),
        ('{"eos_token_id": [[1]]}', "eos_token_id must be a token's id"),
        ('{"eos_token_id": 1.5}', "eos_token_id must be a token's id"),
        ('{"eos_token_id": true}', "eos_token_id must be a token's id"),
        ('{"eos_token_id": -1}', "eos_token_id must be a token's id"),
        ('{"eos_token_id": {"id": 1}}', "eos_token_id must be a token's id"),
        ("[1]", "must hold one JSON object, got list"),
        ("{", "is not valid JSON"),
        ('"\udcff"', "is not valid JSON"),
    ],
)
def test_end_tokens_of_the_wrong_type_are_named(tmp_path: Path, content: str, part: str):
    make(tmp_path)
    file = tmp_path / "generation_config.json"
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError) as raised:
        tokenizer.load(tmp_path)
    assert str(raised.value).startswith(f"{file}") and part in str(raised.value)


def test_a_file_without_end_tokens_adds_none(tmp_path: Path):
    for stated in ({}, {"eos_token_id": None}, {"eos_token_id": []}):
        assert make(tmp_path, generation_config=stated).end_ids == (1,)


def test_what_cannot_be_loaded(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="has no tokenizer"):
        tokenizer.load(tmp_path)
    make(tmp_path)
    settings_file = tmp_path / "tokenizer_config.json"
    stated = json.loads(settings_file.read_text())
    settings_file.write_text(json.dumps(stated | {"eos_token": None}))
    with pytest.raises(ValueError, match="states no end token"):
        tokenizer.load(tmp_path)
    settings_file.write_text(json.dumps(stated))
    (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match="has no chat template; use 'plain'"):
        tokenizer.load(tmp_path).prompt_ids("q", Markup(template="chat"))
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        tokenizer.load(tmp_path)
