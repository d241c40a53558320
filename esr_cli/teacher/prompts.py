"""The keys and values of prompts that a teacher reads again and again, within a memory bound."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence

from esr_cli.models import batching
from esr_cli.models.continued import Continued, Ids, Kept, size_of


class Prompts:
    """Prompts by their ids, those used least recently leave first; `limit` is in bytes.

    A prompt is kept from the second time on that it is used. The first time it is only noted, with
    the size that it would have (`token_bytes` a token): so a prompt that returns later than the
    bound reaches, or never, is not kept, and costs nothing.
    """

    def __init__(self, reads: Continued, limit: int, token_bytes: int, budget_tokens: int) -> None:
        self.reads, self.limit, self.token_bytes = reads, limit, token_bytes
        self.budget_tokens = budget_tokens
        # The size of each prompt, and its keys and values if they are kept.
        self._known: OrderedDict[Ids, tuple[int, Kept | None]] = OrderedDict()
        self._size = 0
        self._tokens_read = 0

    def repeated(self, prompts: Sequence[Ids]) -> set[Ids]:
        """The prompts to read apart from responses: known ones, and those of several responses."""
        found = set()
        for ids, count in Counter(prompts).items():
            if len(ids) > 1 and (count > 1 or ids in self._known):
                found.add(ids)
            else:
                self._put(ids, len(ids) * self.token_bytes, None)
        return found

    def kept(self, prompts: Sequence[Ids]) -> dict[Ids, Kept]:
        """The keys and values of the prompts, read now unless they are kept."""
        found, missing = dict[Ids, Kept](), list[Ids]()
        for ids in dict.fromkeys(prompts):
            size, held = self._known.get(ids, (0, None))
            if held is None:
                missing.append(ids)
            else:
                found[ids] = held
                self._put(ids, size, held)
        lengths, enough = list(map(len, missing)), batching.enough_tokens(self.reads.model)
        for group in batching.micro_batches(lengths, self.budget_tokens, enough):
            chosen = [missing[at] for at in group]
            for ids, held in zip(chosen, self.reads.read(chosen), strict=True):
                found[ids] = held
                self._put(ids, size_of(held), held)
        self._tokens_read += sum(lengths)
        return found

    def take(self) -> int:
        """The number of prompt tokens that `kept` read since the last call."""
        count, self._tokens_read = self._tokens_read, 0
        return count

    def _put(self, ids: Ids, size: int, held: Kept | None) -> None:
        """Makes it the prompt used last, and forgets others until the bound holds."""
        self._size -= self._known.pop(ids, (0, None))[0]
        if size > self.limit:  # it would drive out all others, and then leave itself
            return
        self._size += size
        self._known[ids] = size, held
        while self._size > self.limit:
            _, (freed, _) = self._known.popitem(last=False)
            self._size -= freed
