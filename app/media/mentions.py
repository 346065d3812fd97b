"""The `@username`s of a prompt: which words mean a character, and how its name may end where a sentence does."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

# At the start of a word, which an e-mail address's part before the @ isn't; prompts in Chinese have no space before it. What
# follows the name must not go on with it: whitespace, punctuation, or the end.
_MENTION = re.compile(r"(?<![A-Za-z0-9._%+@-])@([A-Za-z0-9._-]{2,64}+)(?![\w.-])")
_ENDS = "._-"


@dataclass(frozen=True, slots=True)
class Mention:
    """`name` as it stands in the prompt, a full stop of the sentence included."""

    name: str

    @property
    def spellings(self) -> frozenset[str]:
        """What the username may be: with what ends it, and without."""
        return frozenset({self.name, self.name.rstrip(_ENDS)})


def read_mentions(prompt: str) -> Sequence[Mention]:
    """Each once, in the order in which they stand."""
    return [Mention(name) for name in dict.fromkeys(_MENTION.findall(prompt))]
