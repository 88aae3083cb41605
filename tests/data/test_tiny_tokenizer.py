"""The embedded tokenizer, loaded as any command loads one."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import acim_jax
from acim_jax.checkpoint import acim_yaml
from acim_jax.data import generated
from acim_jax.markup import Markup, outputs
from acim_jax.markup import tokenizer as tokenizers
from acim_jax.markup.tokenizer import Tokenizer

FOLDER = Path(acim_jax.__file__).parent / "assets" / "tiny"


@pytest.fixture(scope="module")
def tokenizer():
    transformers = pytest.importorskip("transformers")
    return transformers.AutoTokenizer.from_pretrained(FOLDER, local_files_only=True)


@pytest.fixture(scope="module")
def ours() -> Tokenizer:
    return tokenizers.load(FOLDER)


@pytest.fixture(scope="module")
def markup() -> Markup:
    found = acim_yaml.read_markup(FOLDER)
    assert found is not None
    return found


def test_special_tokens_and_size(tokenizer) -> None:
    names = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>"]
    assert tokenizer.convert_tokens_to_ids(names) == [0, 1, 2, 3]
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (0, 1)
    assert len(tokenizer) == 640


@given(text=st.text())
def test_any_text_comes_back(ours: Tokenizer, text: str) -> None:
    assert ours.decode(ours.encode_plain(text)) == text


def test_transformers_and_we_cut_alike(tokenizer, ours: Tokenizer, markup: Markup) -> None:
    for one in generated.demonstrations(300, seed=2, markup=markup):
        for text in (one.question, one.response):
            assert ours.encode(text).tolist() == tokenizer.encode(text, add_special_tokens=False)


def test_spaces_before_punctuation_stay(tokenizer) -> None:
    text = "Is this , so ? He 's\r\n\r\n  \tdone . "
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(number=st.integers(min_value=0), before=st.sampled_from(["", " ", "(", "x = "]))
def test_digits_stand_one_by_one(tokenizer, number: int, before: str) -> None:
    ids = tokenizer.encode(f"{before}{number}.", add_special_tokens=False)
    with_digit = [text for text in map(tokenizer.decode, ids) if any(map(str.isdigit, text))]
    assert with_digit == list(str(number))


def test_template_and_chat_template_agree(tokenizer, markup: Markup) -> None:
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is 2*3?"}], tokenize=False, add_generation_prompt=True
    )
    assert chat == markup.template.replace("{problem}", "What is 2*3?")
    ids = tokenizer.encode(chat)
    assert ids[0] == 2 and ids[-1] == 3 and 1 not in ids


def test_lengths_are_as_documented(tokenizer, markup: Markup) -> None:
    assert len(tokenizer.encode(markup.text_prefixes[0])) == 4
    assert len(tokenizer.encode(markup.code_prefixes[0])) == 7
    longest: dict[str, int] = {"prompt": 0, "text": 0, "code": 0}
    for one in generated.demonstrations(4000, seed=1, markup=markup):
        pieces = outputs.split_by_author(one.response, markup)
        response = sum(len(tokenizer.encode(text)) for _, text in pieces) + 1
        prompt = len(tokenizer.encode(one.question)) + 2
        longest["prompt"] = max(longest["prompt"], prompt)
        longest[one.decision] = max(longest[one.decision], response)
    assert longest["prompt"] <= 36 and longest["text"] <= 64 and longest["code"] <= 91
