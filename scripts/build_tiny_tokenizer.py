"""Trains the tiny model's tokenizer on generated demonstrations and saves it as a folder that
`transformers.AutoTokenizer` loads.

    python scripts/build_tiny_tokenizer.py --out acim_jax/assets/tiny
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import tokenizers
import transformers
from tokenizers import decoders, models, pre_tokenizers, trainers

from acim_jax.checkpoint import acim_yaml
from acim_jax.data import generated
from acim_jax.markup import Markup, form, outputs

SPECIAL_TOKENS = ("<|pad|>", "<|end|>", "<|user|>", "<|assistant|>")  # ids 0, 1, 2, 3
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
#: Text is cut into Qwen2's pieces: transformers does so for every folder of model type qwen2,
#: whatever its tokenizer.json says.
QWEN2_PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def texts(markup: Markup, count: int, seed: int) -> Iterator[str]:
    """Prompts, and responses cut as training and sampling cut them, without special tokens."""
    for demonstration in generated.demonstrations(count, seed=seed, markup=markup):
        yield demonstration.question
        for _, piece in outputs.split_by_author(demonstration.response, markup):
            yield piece


def train(markup: Markup, count: int, seed: int) -> tokenizers.Tokenizer:
    """A byte-level BPE over all 256 bytes, merged until the vocabulary is full."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(QWEN2_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=640,  # of the model
        min_frequency=2,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(markup, count, seed), trainer)
    return tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder that holds acim.yaml")
    parser.add_argument("--demonstrations", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    markup = acim_yaml.read_markup(args.out)
    if markup is None:
        parser.error(f"{args.out} holds no acim.yaml")
    prompt = form.prompt_text("7", markup)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=train(markup, args.demonstrations, args.seed),
        pad_token=SPECIAL_TOKENS[0],
        eos_token=SPECIAL_TOKENS[1],
        # Qwen2's class would add a token of its own for what no byte-level BPE meets.
        unk_token=SPECIAL_TOKENS[0],
        extra_special_tokens=list(SPECIAL_TOKENS[2:]),
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )
    fast.save_pretrained(args.out)
    print(f"{len(fast)} tokens; {prompt!r} is {fast.encode(prompt)}")


if __name__ == "__main__":
    main()
