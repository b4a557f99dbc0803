"""Language models: back ends, conjugations, suites, evaluation, diagnosis."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.lm.continuations import (
        Continued,
        continue_all,
        glue,
        joined_choices,
        sent_choices,
    )
    from palimpsest.lm.exchange import (
        SPOKEN_ROLES,
        ConjugationError,
        Exchange,
        Fidelity,
        Form,
        Reader,
        off_loop,
        shared_stops,
    )
    from palimpsest.lm.honouring import CANNOT_HONOUR, TOOLS_AND_VOTES, asks_for
    from palimpsest.lm.judge import UNDECIDED, judge_of
    from palimpsest.lm.likelihoods import (
        TIE,
        TIED,
        Likelihood,
        choice_likelihoods,
        choices_as_raw,
        is_tie,
        likeliest,
    )
    from palimpsest.lm.network import is_loopback, open_client, strict_json
    from palimpsest.lm.prompts import Message, Prompt, plain_text, texts_of
    from palimpsest.lm.stops import answer_start, cut, first_stop
    from palimpsest.lm.text_cache import TextCache
    from palimpsest.lm.together import prepare_answers, read_together

__all__ = [
    "CANNOT_HONOUR", "SPOKEN_ROLES", "TIE", "TIED", "TOOLS_AND_VOTES", "UNDECIDED",
    "ConjugationError", "Continued", "Exchange", "Fidelity", "Form", "Likelihood", "Message",
    "Prompt", "Reader", "TextCache", "answer_start", "asks_for", "choice_likelihoods",
    "choices_as_raw", "continue_all", "cut", "first_stop", "glue", "is_loopback", "is_tie",
    "joined_choices", "judge_of", "likeliest", "off_loop", "open_client", "plain_text",
    "prepare_answers", "read_together", "sent_choices", "shared_stops", "strict_json", "texts_of",
]  # fmt: skip

lazy_face(globals())
