"""Numbers at the end of whatever a model says before them."""

from __future__ import annotations

import re

from palimpsest.lm.scoring import Scorer
from palimpsest.records import Outcome

NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


class LastNumber(Scorer):
    """The last number of an answer, as in: 5 plus 7 is 12.

    Another one may always follow, so no answer is decided before its end.

    Example:
        >>> LastNumber(right=["12"], intruding=["35"]).outcome("5 plus 7 is 12.")
        'right'
    """

    def outcome(self, answer: str) -> Outcome:
        """Return whose number comes last."""
        last = NUMBER.findall(answer)[-1:]
        right, intruded = ({*last} <= {*texts} for texts in (self.right, self.intruding))
        if not last or right == intruded:
            return "broken"
        return "right" if right else "intruded"
