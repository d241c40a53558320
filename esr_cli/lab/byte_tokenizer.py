"""The lab's byte-level tokenizer: its token boundaries differ from the word-level one's.

Every word includes the blank before it, as in most published vocabularies. The merges are listed
here instead of learnt from a sample, so that they depend on no seed and no library version. They
keep two things as single tokens: the name of the strategy, and a result after `=`.
"""

from __future__ import annotations

import string

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<bos>", "<eos>", "<sep>")
MARKS = ":;,.?+-*=}\\\n"
# Each is merged from its first character on. "plan", "start", "three", "answer" and "\boxed{" stay
# split; the heads come before the tails, since an earlier merge is applied first.
HEADS = (
    " careful", " quick", " find", " one", " by", " at", " once", " so", " the", " is",
    " pl", " st", " th", " ans",
)  # fmt: skip
TAILS = ("an", "art", "ree", "wer", "boxed")
# Neighbouring words that are two tokens for the word-level tokenizer and one for this one.
JOINED = (
    (" by", " one"), (" at", " once"), (" so", " the"), (" .", " \n"),
    *((" +", f" {operand}") for operand in range(1, 10)),
)  # fmt: skip
# The template adds a blank before each content: the first word includes one too.
TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    "<bos> {{ message['content'] }}{% if add_generation_prompt %}<sep>{% endif %}"
    "{% else %} {{ message['content'] }}<eos>{% endif %}{% endfor %}"
)


def merges() -> list[tuple[str, str]]:
    """Pairs of pieces as text, in the order of application."""
    numbers = [f" {number}" for number in range(50)]
    single = [f" {sign}" for sign in f"{string.ascii_lowercase}Q{MARKS}"]
    words = [*single, *numbers, *HEADS, *TAILS]
    steps = [(word[:end], word[end]) for word in words for end in range(1, len(word))]
    # " one" and " once" share their beginning.
    return list(dict.fromkeys([*steps, *JOINED]))


def bytes_tokenizer() -> PreTrainedTokenizerFast:
    """Special tokens, the 256 bytes, and one token per merge."""
    pairs = [(_printable(left), _printable(right)) for left, right in merges()]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*SPECIAL, *alphabet, *(left + right for left, right in pairs)]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    # No split into words before the merges: some of them join neighbours.
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        extra_special_tokens=["<sep>"],
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def _printable(piece: str) -> str:
    # GPT-2's byte alphabet maps unprintable bytes to +256; everything else in the lab is ASCII.
    return piece.replace(" ", chr(256 + 32)).replace("\n", chr(256 + 10))
