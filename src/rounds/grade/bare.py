"""Reads bare names: "Gout", "gout, pseudogout, septic arthritis", or a name a line, without any mark of a list.

Such a reply is read only where it cannot be mistaken for prose: a few short lines without a word of a sentence (a
verb, a denial, a pronoun), more than half of whose parts are diseases that the lexicon or ICD-10 has, or are made of
their words alone and end as names of diseases do. What these rules do not know stays unreadable: an unread name is a
miss, a misread sentence would be an answer nobody gave. The words are English; in any language a reply is read that is
a name of its case, word for word. Left out on purpose: lists with marks (`rounds.prompts.reader`), and whether a name
is right.
"""

from __future__ import annotations

import re

from rounds.grade.cascade import NOTHING, Cascade, answer_key
from rounds.grade.names import normalise
from rounds.grade.reading import AFTER, BEFORE, GENERAL, OPPOSING, SUPPORTING, TURNS, VERBS, fold
from rounds.grade.words import essence, tokens, words
from rounds.prompts.reader import RED_FLAGS, after_thinking
from rounds.records import Case

MOST_LINES = 10
LONGEST = 500
"""Letters of a line."""
MOST_WORDS = 12
"""Of one name."""
LABEL = re.compile(
    r"^\W*(?:(?:my|the|final|differential|most likely|likely|probable|leading|working|provisional|preliminary) )*"
    r"(?:diagnos[ie]s|differential|answer)\W*:\W*",
    re.IGNORECASE,
)
OF_SENTENCES = re.compile(r"[!?:=<>{}|@\\]|\w{3}\.\s|[a-z]\.[a-z]{2}|\.\.|\s[-–—]\s|--")
"""Marks that no name has; a full stop inside one follows a letter or two: E. coli."""
FIRST = frozenset(
    ["the", "or", "and", "an", "with", "without", "of", "in", "to", "for", "by", "as", "at", "on", "from"]
)
"""Words that no name begins with."""
PROSE = (BEFORE | AFTER | TURNS | VERBS | GENERAL | OPPOSING | SUPPORTING) - {"without"} | frozenset(
    """i me my we us our you your he him his she her they them it this that these those there here who whom what how why
    where when then so than whether nothing shall must do does did is are was were be been being am please sorry yes
    okay ok maybe perhaps also just only very too more less improbable exclude excluded rule ruled ruling denies unclear
    unsure unable consider considered consult see seek ask take give given get go call come drink start stop begin
    continue order obtain perform refer treat treated treating check monitor need needed know think thought believe
    explain explained cause caused reveal find found patient doctor physician nurse today tomorrow yesterday now soon
    immediately later ago""".split()  # noqa: SIM905
)
"""Words of sentences, in the form that `fold` gives; the few names with one ('absence seizure') stay unread."""
ENDING = re.compile(
    r"(?:itis|osis|iasis|oma|omata|a?emia|pathy|pathies|uria|plasia|trophy|algia|dynia|ectasia|sclerosis|stenosis|penia|"
    r"cele|lithiasis|rrho?ea|rrhage|megaly|paresis|plegia|phobia|mania|philia|o?edema|aneurysm|syndrome|disease|disorder|"
    r"infection|fracture|cancer|tumou?r|poisoning|deficiency)s?$"
)
"""How words end that name diseases."""


def bare_names(reply: str, case: Case, cascade: Cascade) -> tuple[str, ...]:
    """The names of a reply that is nothing but names, in their order; empty when it may be anything else."""
    written = (line.strip(" \t*_#>") for line in after_thinking(reply).splitlines() if not RED_FLAGS.match(line))
    lines = [bare for line in written if (bare := LABEL.sub("", line))]
    if not 0 < len(lines) <= MOST_LINES:
        return ()
    found: list[str] = []
    for line in lines:
        parts = cascade.apart(case, line) if len(line) <= LONGEST and not OF_SENTENCES.search(line) else []
        if not parts or not all(_shaped(part, case) for part in parts):
            return ()
        found += parts
    known = sum(_known(part, case, cascade) for part in found)
    return tuple(found) if 2 * known > len(found) else ()


def _own(part: str, case: Case) -> bool:
    """Whether it is a name of the case, as it stands there."""
    return answer_key(part) in {key for name in (case.diagnosis, *case.also_called) if (key := answer_key(name))}


def _shaped(part: str, case: Case) -> bool:
    """Whether a piece of text may be a name: short, and with no word of a sentence."""
    if answer_key(part) in NOTHING:
        return False
    written = normalise(part).split()
    short = 0 < len(written) <= MOST_WORDS and written[0] not in FIRST
    return _own(part, case) or (short and PROSE.isdisjoint(fold(re.sub(r"[-/]", " ", part)).split()))


def _known(part: str, case: Case, cascade: Cascade) -> bool:
    """Whether it is the name of a disease, as far as our words go."""
    ways = cascade.reader.variants(part, right=False)
    # Titles from T on are external causes, drugs taken and reasons for contact.
    if _own(part, case) or any(way.meanings for way in ways) or any(code < "T" for code in cascade.codes.of(ways)):
        return True
    vocabulary = cascade.reader.vocabulary | words().addable | words().generic
    return essence(tokens(part)) <= vocabulary and any(map(ENDING.search, normalise(part).split()))
