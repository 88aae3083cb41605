"""Small byte-level BPE tokenizers, made on the spot, that merge what a test wants merged."""

from collections.abc import Sequence
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from acim_jax.markup import tokenizer

SPECIALS = ["<|pad|>", "<|end|>", "<|im_start|>", "<|im_end|>"]
CHATML = (
    "{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make(folder: Path, pieces: Sequence[str], *, chat: str | None = CHATML) -> tokenizer.Tokenizer:
    """A tokenizer whose vocabulary is all bytes and `pieces`, each built from its left to right.

    Nothing is cut before merging, so a piece may reach over newlines, fences and words.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(SPECIALS + alphabet)}
    merges: list[tuple[str, str]] = []
    to_letters = dict(zip(_bytes(), _letters(), strict=True))
    for piece in pieces:
        letters = "".join(to_letters[byte] for byte in piece.encode())
        for at in range(1, len(letters)):
            pair = (letters[:at], letters[at])
            if pair not in merges:
                merges.append(pair)
                vocabulary.setdefault(letters[: at + 1], len(vocabulary))
    made = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([tokenizers.AddedToken(s, special=True) for s in SPECIALS])
    wrapper = PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|im_end|>", pad_token="<|pad|>"
    )
    wrapper.chat_template = chat
    wrapper.save_pretrained(folder)
    return tokenizer.load(folder)


def make_with_blank(folder: Path, pieces: Sequence[str]) -> tokenizer.Tokenizer:
    """In the manner of SentencePiece: a blank before any text, blanks as `▁`, bytes as `<0x0A>`."""
    letters = [chr(code) for code in range(33, 127)] + ["▁"]
    everything = ["<unk>", *SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    vocabulary = {token: index for index, token in enumerate(everything)}
    merges: list[tuple[str, str]] = []
    for piece in pieces:
        for at in range(1, len(piece)):
            if (piece[:at], piece[at]) not in merges:
                merges.append((piece[:at], piece[at]))
                vocabulary.setdefault(piece[: at + 1], len(vocabulary))
    made = tokenizers.Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True, unk_token="<unk>")
    )
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    made.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    made.add_special_tokens([tokenizers.AddedToken(s, special=True) for s in SPECIALS])
    wrapper = PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|im_end|>", pad_token="<|pad|>"
    )
    wrapper.save_pretrained(folder)
    return tokenizer.load(folder)


def token_bytes(tok: tokenizer.Tokenizer, token_id: int) -> bytes:
    """The bytes that an ordinary token stands for, read from its letters."""
    to_byte = dict(zip(_letters(), _bytes(), strict=True))
    return bytes(to_byte[letter] for letter in tok.backend.id_to_token(token_id) or "")


def _bytes() -> list[int]:
    """The order in which byte-level BPE gives bytes a letter: printable ones keep their own."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return printable + [byte for byte in range(256) if byte not in printable]


def _letters() -> list[str]:
    printable = _bytes()[:188]
    return [chr(byte) for byte in printable] + [chr(256 + n) for n in range(256 - 188)]
