"""The lab's tokenizers by name: word-level and byte-level."""

from __future__ import annotations

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from esr_cli.lab.byte_tokenizer import SPECIAL, bytes_tokenizer

WORDS = [
    *"Q : start ; find ? + - * =".split(),
    "\n",
    *"plan careful quick , . one by three at once so the answer is \\boxed{ }".split(),
]
# The lab has a single user turn: <bos> question <sep>, then the response.
TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    "<bos> {{ message['content'] }}{% if add_generation_prompt %} <sep>{% endif %}"
    "{% else %} {{ message['content'] }} <eos>{% endif %}{% endfor %}"
)


# A second token that ends a response, as chat models have.
END = "<end>"


def lab_tokenizer(two_ends: bool = False, eos: str = "<eos>") -> PreTrainedTokenizerFast:
    """A word-level tokenizer: special tokens, words, the 26 letters, the numbers 0 to 49.

    With `two_ends` there is also `END`; either can be the end of text `eos`.
    """
    letters = [chr(ord("a") + i) for i in range(26)]
    tokens = [*SPECIAL, *WORDS, *letters, *map(str, range(50)), "<unk>"]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    # Not <pad>: an unknown word must not be taken for padding.
    if two_ends:
        vocabulary[END] = len(vocabulary)
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    # Split on blanks only: the line break is a separate word.
    core.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token=eos,
        unk_token="<unk>",
        additional_special_tokens=["<eos>", END] if two_ends else [],
        chat_template=TEMPLATE.replace("<eos>", eos),
        clean_up_tokenization_spaces=False,
    )


# Keys are the values of `student_tokenizer` and `teacher_tokenizer`.
TOKENIZERS = {"words": lab_tokenizer, "bytes": bytes_tokenizer}
