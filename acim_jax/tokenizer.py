"""Text to token ids and back, with the borders that a conversation with an interpreter needs.

Host only. Special tokens are recognised where *we* wrote the text (templates), never in what a
problem or a program contains: there they are ordinary characters.
"""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from acim_jax import markup as markups
from acim_jax.markup import Markup

# Stands for the question while a template is rendered; a private-use character no text contains.
_PLACE = "\ue000problem\ue000"


@dataclasses.dataclass(frozen=True, eq=False)
class Tokenizer:
    """A model folder's tokenizer.

    eos_id ends a response; end_ids are all ids that do (a chat model has several). bos_ids: what
    the tokenizer puts before any text, often nothing. vocab_size: ids that stand for text; a
    model's embedding may be padded beyond it.
    """

    wrapper: Any  # transformers' PreTrainedTokenizerFast: the chat template
    backend: tokenizers.Tokenizer
    plain: tokenizers.Tokenizer  # the same, blind to special tokens
    specials: tuple[str, ...]
    bos_ids: tuple[int, ...]
    end_ids: tuple[int, ...]
    eos_id: int
    pad_id: int
    vocab_size: int

    def encode(self, text: str) -> np.ndarray:
        """Ids [n] int32; special tokens spelled in `text` are recognised, none are added."""
        return np.array(self.backend.encode(text, add_special_tokens=False).ids, np.int32)

    def encode_plain(self, text: str) -> np.ndarray:
        """Ids [n] int32 of foreign text: a special token spelled in it is ordinary characters."""
        return np.array(self.plain.encode(text, add_special_tokens=False).ids, np.int32)

    def decode(self, token_ids: np.ndarray, *, skip_special: bool = False) -> str:
        """The text of ids, without any clean-up; ids beyond the vocabulary stand for nothing."""
        return self.backend.decode(token_ids.tolist(), skip_special_tokens=skip_special)

    def prompt_ids(self, question: str, markup: Markup) -> np.ndarray:
        """The prompt of a question, ids [n] int32, with the tokenizer's own beginning if any.

        The whole prompt is encoded at once, so that tokens may span the template's borders, unless
        the question spells a special token; then it is encoded apart, as foreign text.
        """
        if any(special in question for special in self.specials):
            template = self._render(_PLACE, markup).split(_PLACE)
            parts = [self.encode(template[0])]
            for piece in template[1:]:
                parts += [self.encode_plain(question), self.encode(piece)]
            ids = np.concatenate(parts)
        else:
            ids = self.encode(self._render(question, markup))
        if tuple(ids[: len(self.bos_ids)].tolist()) != self.bos_ids:
            ids = np.concatenate([np.array(self.bos_ids, np.int32), ids])
        return ids

    def stop_ids(self, markup: Markup) -> np.ndarray:
        """All ids that end a response, ascending: the model's own and `markup.stop`.

        ValueError where a stop text is not one token: it would never be seen as one.
        """
        stops = set(self.end_ids)
        for text in markup.stop:
            ids = self.encode(text)
            if len(ids) != 1:
                raise ValueError(
                    f"markup.stop: {text!r} is {len(ids)} tokens of this tokenizer, a stop must be "
                    "one; name a special token or leave it out."
                )
            stops.add(int(ids[0]))
        return np.array(sorted(stops), np.int32)

    def halting_ids(self, markup: Markup) -> np.ndarray:
        """bool [vocab_size]: tokens that may complete a closing code fence.

        A superset, whatever the tokenizer merges: every token whose text holds the fence's last
        character. A row that samples one is paused so that the host can look at its text.
        """
        last = markup.code_close[-1:]
        # A token is decoded doubled: some decoders drop a space at the very beginning of a text.
        doubled = [[token_id, token_id] for token_id in range(self.vocab_size)]
        texts = self.backend.decode_batch(doubled, skip_special_tokens=False)
        # Part of a character beyond ASCII decodes to the replacement character.
        marks = (last,) if last.isascii() else (last, "\ufffd")
        return np.array([any(mark in text for mark in marks) for text in texts], bool)

    def _render(self, question: str, markup: Markup) -> str:
        if markup.template != "chat":
            return markups.prompt_text(question, markup)
        if not self.wrapper.chat_template:
            raise ValueError(
                "markup.template is 'chat', but the tokenizer has no chat template; use 'plain' or "
                "a template that contains '{problem}'."
            )
        messages = [{"role": "user", "content": question}]
        return self.wrapper.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )


def load(folder: Path) -> Tokenizer:
    """The tokenizer of a local model folder.

    FileNotFoundError without tokenizer files; ValueError naming the folder for files that cannot be
    read, for a tokenizer without a fast form and for one without an end token.
    """
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")):
        raise FileNotFoundError(
            f"{folder} has no tokenizer: tokenizer.json and tokenizer_config.json were expected."
        )
    # transformers takes over a second to import, and advises to install torch, which this package
    # does not use.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    from transformers import AutoTokenizer

    try:
        wrapper = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the tokenizers library raises bare Exception for a broken file
        raise ValueError(f"The tokenizer in {folder} cannot be read: {error}") from error
    if not wrapper.is_fast:
        raise ValueError(f"{folder}: the tokenizer needs a fast form (tokenizer.json).")
    # tokenizer.json is what the model was trained with and what servers load. transformers may put
    # the pieces and the normaliser of the architecture's class in their place.
    stated = folder / "tokenizer.json"
    backend = tokenizers.Tokenizer.from_file(str(stated)) if stated.is_file() else None
    backend = backend or wrapper.backend_tokenizer
    plain = tokenizers.Tokenizer.from_str(backend.to_str())
    plain.encode_special_tokens = True
    end_ids = _end_ids(folder, wrapper.eos_token_id)
    eos_id = end_ids[0] if wrapper.eos_token_id is None else wrapper.eos_token_id
    begin = wrapper("").input_ids
    return Tokenizer(
        wrapper=wrapper,
        backend=backend,
        plain=plain,
        specials=tuple(t.content for t in backend.get_added_tokens_decoder().values() if t.special),
        bos_ids=tuple(begin[:1]) if begin and begin[0] == wrapper.bos_token_id else (),
        end_ids=end_ids,
        eos_id=eos_id,
        pad_id=eos_id if wrapper.pad_token_id is None else wrapper.pad_token_id,
        vocab_size=len(wrapper),
    )


def _end_ids(folder: Path, eos_id: int | None) -> tuple[int, ...]:
    """The tokenizer's end token and those of `generation_config.json`, ascending."""
    found = set() if eos_id is None else {eos_id}
    file = folder / "generation_config.json"
    if file.is_file():
        try:
            stated = json.loads(file.read_text(encoding="utf-8")).get("eos_token_id")
        except (json.JSONDecodeError, AttributeError) as error:
            raise ValueError(f"{file} is not a JSON object: {error}") from error
        found |= {stated} if isinstance(stated, int) else set(stated or ())
    if not found:
        raise ValueError(f"{folder}: the tokenizer states no end token (eos_token).")
    return tuple(sorted(found))
