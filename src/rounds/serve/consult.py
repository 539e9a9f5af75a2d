"""One case typed by a person: the prompt it becomes, and the reply read back into five diagnoses.

Shared by the page and by `rounds ask`. Left out on purpose: keeping anything of it.
"""

from __future__ import annotations

from rounds.prompts.reader import read_reply
from rounds.prompts.template import render
from rounds.records import Answer, Case, Prompt, Trace, UserError
from rounds.serve.language import language_of

TYPED = "typed"
LONGEST_CASE = 20_000


def prompt_for(text: str, template: str) -> Prompt:
    """The prompt for one typed case.

    Raises:
        UserError: nothing typed, too long (characters), unknown template.
    """
    vignette = text.strip()
    if not vignette:
        raise UserError("the case is empty; type what is known of the patient.")
    if len(vignette) > LONGEST_CASE:
        raise UserError(f"the case has {len(vignette)} characters; at most {LONGEST_CASE} can be read.")
    # A template written in the case's language is used in it; what cannot be told is asked in the template's first.
    return render(Case(id=TYPED, vignette=vignette, diagnosis="", language=language_of(vignette) or "en"), template)


def read_trace(trace: Trace) -> Answer:
    """The answer in a trace; what the model thought is never read as its answer."""
    return read_reply(trace.reply, trace.prompt.case_id)
