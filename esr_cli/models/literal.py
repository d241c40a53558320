"""Encodes text in which special tokens are spelt but not meant."""

from __future__ import annotations

import json
import re
import secrets
from functools import cached_property
from typing import Any

# Private-use characters around the secret names; no normalizer changes them.
OPEN, CLOSE = "\U000f6cb9", "\U000f6cba"


class Literal:
    """Tells the special tokens of a chat template from those that a question only spells.

    Before rendering, `hidden` replaces the spelt ones by stand-ins. In the rendered text `marked`
    gives the others, the template's own, secret names and restores the spelt ones. `ids` encodes
    that text with a copy of the tokenizer that knows its special tokens by the secret names only.
    All else is encoded as by the original. The names are random, so no text can forge one.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.backend_tokenizer.get_added_tokens_decoder() if tokenizer.is_fast else {}
        self._special = {token.content: id for id, token in added.items() if token.special}
        longest_first = sorted(self._special, key=len, reverse=True)
        self._spelt = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        nonce = secrets.token_hex(8)
        self._names = {
            token: f"{OPEN}{nonce}.{id}{CLOSE}" for token, id in self._special.items()
        }  # fmt: skip
        self._stand_ins = {token: name.replace(".", "-") for token, name in self._names.items()}

    def hidden(self, value: Any) -> Any:
        """Returns texts (also in lists and dicts) with a stand-in for each spelt special token.

        Unchanged if there is none, or if the tokenizer cannot encode one as text.
        """
        if isinstance(value, str):
            found = self._spelt.search(value)
            return self._replaced(value, self._stand_ins) if found and self._copy else value
        if isinstance(value, dict):
            return {self.hidden(key): self.hidden(each) for key, each in value.items()}
        return [self.hidden(each) for each in value] if isinstance(value, list) else value

    def restored(self, text: str) -> str:
        """Returns the text with the spelt special tokens in place of their stand-ins."""
        for token, stand_in in self._stand_ins.items():
            text = text.replace(stand_in, token)
        return text

    def marked(self, text: str) -> str:
        """Returns the text for `ids`: secret names for special tokens, stand-ins restored."""
        return self.restored(self._replaced(text, self._names))

    def ids(self, marked: list[str]) -> list[list[int]]:
        """Returns the token ids of marked texts, without special tokens around them."""
        assert self._copy is not None, "no text was hidden"
        encoded = self._copy.encode_batch(marked, add_special_tokens=False)
        return [each.ids for each in encoded]

    def _replaced(self, text: str, names: dict[str, str]) -> str:
        return self._spelt.sub(lambda match: names[match[0]], text)

    @cached_property
    def _copy(self) -> Any:
        """The tokenizer with secret names; None if it cannot be built. This takes seconds."""
        from tokenizers import Tokenizer

        tree = json.loads(self._tokenizer.backend_tokenizer.to_str())
        try:
            copy = Tokenizer.from_str(json.dumps(_renamed(tree, self._names)))
        except Exception:  # the library raises bare exceptions for a model that it cannot build
            return None
        ids = {token: copy.token_to_id(name) for token, name in self._names.items()}
        return copy if ids == self._special else None


def _renamed(tree: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """A tokenizer.json in which special tokens have other names, also as words of the model."""
    added = [
        {**token, "content": names.get(token["content"], token["content"])}
        for token in tree["added_tokens"]
    ]
    model = dict(tree["model"])
    words = model["vocab"]
    if isinstance(words, dict):
        model["vocab"] = {names.get(word, word): id for word, id in words.items()}
    else:
        model["vocab"] = [[names.get(word, word), score] for word, score in words]
    if model.get("unk_token"):
        model["unk_token"] = names.get(model["unk_token"], model["unk_token"])
    if "merges" in model:
        pairs = (m.split(" ") if isinstance(m, str) else m for m in model["merges"])
        model["merges"] = [[a, b] for a, b in pairs if names.keys().isdisjoint((a, b, a + b))]
    # Nothing is added, cut or padded by this copy.
    unused = dict.fromkeys(("truncation", "padding", "post_processor"))
    return {**tree, **unused, "added_tokens": added, "model": model}
