"""Form of answers that are yes or no."""

from __future__ import annotations

import re

from palimpsest.lm.scoring import Form

YES_OR_NO = re.compile(r"\W{0,8}(?:yes|no|oui|non|sí|ja|nein)\b", re.IGNORECASE)


class YesOrNo(Form):
    """Yes or no at the beginning of an answer, in five languages.

    Example:
        >>> [YesOrNo().fits(answer) for answer in ("Yes, it is.", "**Nein**", "Nobody", "")]
        [True, True, False, False]
    """

    def fits(self, answer: str) -> bool:
        """Return whether the answer begins with one of the words."""
        return YES_OR_NO.match(answer.strip()) is not None
