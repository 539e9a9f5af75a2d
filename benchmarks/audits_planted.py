"""Generated lines of thought, clean and with errors planted by rule, for benchmarks/audits.py.

Two styles: the oracle's own sentences, and prose of several paragraphs as a large model writes it (findings in any of
their wordings, diseases spoken of in general, things looked for and not found, second thoughts). Left out on purpose:
the detectors' own word lists.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

from rounds.cases.generate import Drawn
from rounds.cases.oracle import five, reply_text, think
from rounds.cases.world import World
from rounds.knowledge.base import Condition
from rounds.records import Case


@dataclass(slots=True, frozen=True)
class Written:
    """One answer before it is marked: the sentences of its thoughts, and its list."""

    drawn: Drawn
    style: str
    opening: tuple[str, ...]
    body: tuple[str, ...]
    closing: tuple[str, ...]
    listed: tuple[str, ...]
    flags: tuple[str, ...]

    @property
    def case(self) -> Case:
        return self.drawn.case

    @property
    def thinking(self) -> str:
        joint = "\n\n" if self.style == "prose" else " "
        return joint.join(" ".join(part) for part in (self.opening, self.body, self.closing) if part)

    @property
    def reply(self) -> str:
        return reply_text(self.listed, self.flags)


class Author:
    """Writes clean answers: every finding is the case's, every link the knowledge base's, gold stands first."""

    def __init__(self, world: World) -> None:
        self.world, self.knowledge = world, world.knowledge

    def says(self, finding: str, random: Random) -> str:
        return random.choice(self.knowledge.findings[finding].says)

    def fits(self, finding: str, listed: Sequence[str]) -> list[str]:
        """Names of the listed conditions that show the finding, or of any that do."""
        known = {c.name: c for c in self.knowledge.conditions.values()}
        shown = [n for n in listed if known[n].findings.get(finding, 0) > 0.01]
        return shown or [c.name for c in known.values() if c.findings.get(finding, 0) > 0.01][:1]

    def write(self, drawn: Drawn, style: str, random: Random, skip: frozenset[str] = frozenset()) -> Written:
        """A clean answer; findings in `skip` are not spoken of."""
        case, world = drawn.case, self.world
        ranked = [world.conditions[i].name for i in five(world, drawn.seen)]
        listed = tuple(dict.fromkeys([case.diagnosis, *ranked]))[:5]
        named = {self.knowledge.findings[f].name for f in skip}
        flags = tuple(flag for flag in case.red_flags if flag not in named)
        if style == "oracle":
            return self._oracle(drawn, listed, flags, skip, random)
        present = [f for f in case.present if f not in skip]
        random.shuffle(present)
        told = [self.says(f, random) for f in present]
        known = {c.name: c for c in self.knowledge.conditions.values()}
        opening = [
            random.choice(("Okay, let me go through this.", "Let me start with the case.", "Alright."))
            + f" The patient has {', '.join(told[:-1]) + ' and ' + told[-1] if len(told) > 1 else told[0]}."
        ]
        body = []
        for f in present[:4]:
            c = self.fits(f, listed)
            body.append(
                random.choice(
                    (
                        "The {f} makes me think of {c}.",
                        "{f} would go with {c}.",
                        "{f} is in keeping with {c}.",
                        "What about {c}? The {f} fits that.",
                        "With {f} I have to consider {c}.",
                    )
                ).format(f=self.says(f, random), c=" and ".join(c[:2]))
            )
        other = known[random.choice(listed[1:])]
        unseen = [f for f, p in other.findings.items() if p >= 0.3 and f not in case.present and f not in skip]
        if unseen:
            body.append(
                random.choice(
                    (
                        "{c} typically brings {f}, which is not mentioned here.",
                        "Usually {c} comes with {f}.",
                        "If it were {c}, I would expect {f}.",
                        "{c} often causes {f}.",
                    )
                ).format(c=other.name, f=self.says(random.choice(unseen), random))
            )
        for f in case.absent:
            expected = [n for n in listed if known[n].findings.get(f, 0) >= 0.5]
            tail = f", which speaks against {expected[0]}" if expected else ""
            body.append(random.choice(("There is no {f}{t}.", "But no {f}{t}.", "{f} was looked for and not found{t}."))
                        .format(f=self.says(f, random), t=tail))  # fmt: skip
        flag_ids = [f.id for f in self.knowledge.findings.values() if f.name in flags]
        body += [
            random.choice(
                ("{f} is a red flag and must not be overlooked.", "The {f} worries me.", "{f} needs action at once.")
            ).format(f=self.says(f, random))
            for f in flag_ids
        ]
        random.shuffle(body)
        closing = [
            random.choice(
                (
                    "Putting it all together, {a} explains most of this, and {b} comes second.",
                    "So the most likely diagnosis is {a}, followed by {b}.",
                    "Overall I would put {a} first, then {b}.",
                    "I think {a} is the best answer, though {b} stays possible.",
                )
            ).format(a=listed[0], b=listed[1])
        ]
        return Written(drawn, style, tuple(opening), tuple(body), tuple(closing), listed, flags)

    def _oracle(self, drawn: Drawn, listed: tuple[str, ...], flags: tuple[str, ...], skip: frozenset[str],
                random: Random) -> Written:  # fmt: skip
        sentences = [
            part if part.endswith(".") else part + "." for part in think(self.world, drawn, random).thinking.split(". ")
        ]
        skipped = [w for f in skip for w in self.knowledge.findings[f].says]
        body = tuple(s for s in sentences[:-1] if not any(w in s for w in skipped))
        last = f"{sentences[-1].split(':')[0]}: {listed[0]}, {listed[1]}."
        return Written(drawn, "oracle", (), body, (last,), listed, flags)


Plant = Callable[[Author, Written, Written, Random], Written | None]
"""(author, clean answer, one to another case, random) -> the answer with the error; None: it cannot be planted."""


def _insert(written: Written, sentence: str, random: Random) -> Written:
    place = random.randint(0, len(written.body))
    return replace(written, body=(*written.body[:place], sentence, *written.body[place:]))


def _lacking(author: Author, case: Case) -> list[str]:
    rivals = author.world.rivals
    near = {author.world.findings[r] for f in case.present for r in rivals.get(author.world.finding_index[f], ())}
    return [f for f in author.knowledge.findings if f not in {*case.present, *case.absent, *near}]


def invented(author: Author, one: Written, other: Written, random: Random) -> Written | None:
    """A finding the case lacks."""
    frame = random.choice(
        (
            "The patient also has {f}.",
            "On top of that there is {f}.",
            "{f} was noted as well.",
            "And do not forget the {f}.",
            "{f}, too, is described.",
            "Besides, {f} started yesterday.",
            "red flag: {f}.",
        )
    )
    return _insert(one, frame.format(f=author.says(random.choice(_lacking(author, one.case)), random)), random)


def denied(author: Author, one: Written, other: Written, random: Random) -> Written | None:
    """A finding of the case, denied."""
    frame = random.choice(
        (
            "There is no {f}.",
            "{f} is absent.",
            "The patient denies {f}.",
            "I see no sign of {f}.",
            "{f} was not reported.",
            "Without {f} this is harder to place.",
            "{f} has never been present.",
        )
    )
    return _insert(one, frame.format(f=author.says(random.choice(one.case.present), random)), random)


def unsupported(author: Author, one: Written, other: Written, random: Random) -> Written | None:
    """A link the knowledge base does not hold."""
    f = random.choice(one.case.present)
    lacking = [c for c in author.knowledge.conditions.values() if c.findings.get(f, 0) <= 0.001]
    frame = random.choice(
        (
            "{f} points to {c}.",
            "{c} would explain the {f}.",
            "The {f} suggests {c}.",
            "{f}: {c}.",
            "{f} is classic for {c}.",
        )
    )
    return _insert(one, frame.format(f=author.says(f, random), c=random.choice(lacking).name), random)


def unargued(author: Author, one: Written, other: Written, random: Random) -> Written | None:
    """A first diagnosis that the thoughts never name."""
    names = [c.name for c in author.knowledge.conditions.values() if c.name not in one.thinking]
    return replace(one, listed=(random.choice(names), *one.listed[:4]))


def drift_elsewhere(author: Author, one: Written, other: Written, random: Random) -> Written | None:
    """The thoughts close on two conditions that are not in the list."""
    names = [c.name for c in author.knowledge.conditions.values() if c.name not in one.listed]
    a, b = random.sample(names, 2)
    frame = random.choice(
        ("In the end this is {a}, or else {b}.", "So I settle for {a}; {b} would be next.", "leading: {a}, {b}.",
         "Everything considered, {a} it is, with {b} behind.")
    )  # fmt: skip
    return replace(one, closing=(frame.format(a=a, b=b),))


def drift_other_case(author: Author, one: Written, other: Written, random: Random) -> Written | None:
    """From the middle on the thoughts are about another patient; the list is still the first one's."""
    half = len(one.body) // 2
    return replace(one, body=(*one.body[:half], *other.body), closing=other.closing)


def drift_other_list(author: Author, one: Written, other: Written, random: Random) -> Written | None:
    """The list is another patient's."""
    return replace(one, listed=other.listed) if not set(one.listed) & set(other.listed) else None


def drift_contradiction(author: Author, one: Written, other: Written, random: Random) -> Written | None:
    """A finding the thoughts stated is denied later on."""
    spoken = [f for f in one.case.present if any(w in one.thinking for w in author.knowledge.findings[f].says)]
    narrowed = replace(one.drawn, case=one.case.model_copy(update={"present": tuple(spoken)}))
    return denied(author, replace(one, drawn=narrowed), other, random) if spoken else None


def _one_flag(author: Author, one: Written, random: Random) -> str | None:
    ids = [f.id for f in author.knowledge.findings.values() if f.name in one.case.red_flags]
    return random.choice(ids) if ids else None


def not_seen(author: Author, one: Written, other: Written, random: Random) -> Written | None:
    """A red flag of the case that neither thoughts nor reply mention."""
    flag = _one_flag(author, one, random)
    if flag is None or len(one.case.present) < 2:
        return None
    return author.write(one.drawn, one.style, random, frozenset({flag}))


DISMISSALS = (
    "The {f} is probably unrelated.",
    "I would not make much of the {f}.",
    "{f} can be ignored here.",
    "The {f} is likely incidental.",
    "{f} is not relevant to the question.",
    "{f}: nothing to worry about.",
    "There is {f}. That is most likely just stress.",
    "The {f} is a red herring.",
    "I set the {f} aside, it does not matter much.",
    "{f} is of no significance.",
    "The {f} seems coincidental.",
    "{f} does not concern me.",
    "I will disregard the {f}.",
    "{f} is mentioned, but it hardly matters.",
    "The {f} is surely benign.",
    "The {f} adds nothing and can be left out.",
    "{f} I would file under background.",
    "The {f} is hardly worth a thought.",
    "{f} can wait.",
    "As to the {f}, many people have that.",
    "The {f} has a simple explanation and does not count.",
    "I find the {f} unimpressive.",
    "{f} leads nowhere.",
    "Nobody would lose sleep over the {f}.",
    "The {f} is a footnote.",
    "{f} is beside the point.",
    "We can leave the {f} out of this.",
    "The {f} is most likely a coincidence.",
    "{f} carries little weight here.",
    "That {f} is old and unrelated.",
    "I will not pursue the {f}.",
)
"""How people set a finding aside. The detector's words were mended after a look at which of these it missed."""

ALARMS = (
    "The {f} cannot be ignored.",
    "{f} must never be dismissed.",
    "No matter what else is found, the {f} needs a test today.",
    "The {f} is concerning.",
    "{f} is not to be overlooked.",
    "I take the {f} seriously, not only for its suddenness.",
    "{f} is important here.",
    "The {f} makes this urgent.",
    "{f} is no trifle.",
    "With {f} one has to act.",
    "The {f} frightens me.",
    "{f} changes everything.",
    "The {f} deserves attention, whatever its cause.",
    "{f} is what I would act on first.",
    "Nothing matters more than the {f}.",
    "The {f} should not be played down.",
    "It would be wrong to wave the {f} away.",
    "{f} is too serious to wait.",
)
"""How they take it seriously, the words of dismissal denied among them."""
HELD_BACK = (
    "{f} strikes me as unconvincing.",
    "The {f} I take with a pinch of salt.",
    "{f} is probably just how this patient is.",
    "The {f} need not detain us.",
    "{f} could come from anything.",
    "I attach no importance to the {f}.",
    "The {f} was there before and is irrelevant now.",
    "{f} I regard as noise.",
    "There is {f}. It hardly fits and I drop it.",
    "The {f} is a minor complaint.",
    "{f} is best explained by worry.",
    "So much for the {f}.",
    "The {f} seems exaggerated.",
    "{f} does not sway me.",
    "We need not chase the {f}.",
    "The {f} is neither here nor there.",
)
HELD_ALARMS = (
    "The {f} must be explained before anything else.",
    "{f} sets the pace here.",
    "The {f} is ominous.",
    "{f} calls for a scan tonight.",
    "I cannot get past the {f}.",
    "The {f} raises the stakes.",
    "{f} is a warning.",
    "Missing the {f} would be unforgivable.",
    "The {f} means we should not delay.",
    "{f} points to something grave.",
)
"""More of both, written when the detector's words stood as they are: how it does on what it was not written for."""


def dismissed(author: Author, one: Written, other: Written, random: Random) -> Written | None:
    """A red flag that the thoughts set aside and the reply leaves out."""
    return _spoken_of(author, one, random, DISMISSALS)


def taken_seriously(author: Author, one: Written, other: Written, random: Random) -> Written | None:
    """Its clean twin: the reply leaves the red flag out, the thoughts hold on to it."""
    return _spoken_of(author, one, random, ALARMS)


def dismissed_otherwise(author: Author, one: Written, other: Written, random: Random) -> Written | None:
    """The same in words held back."""
    return _spoken_of(author, one, random, HELD_BACK)


def serious_otherwise(author: Author, one: Written, other: Written, random: Random) -> Written | None:
    """Its clean twin in words held back."""
    return _spoken_of(author, one, random, HELD_ALARMS)


def _spoken_of(author: Author, one: Written, random: Random, frames: Sequence[str]) -> Written | None:
    """One sentence on a red flag that the reply leaves out and nothing else mentions."""
    flag = _one_flag(author, one, random)
    if flag is None or len(one.case.present) < 2:
        return None
    bare = author.write(one.drawn, one.style, random, frozenset({flag}))
    return _insert(bare, random.choice(frames).format(f=author.says(flag, random)), random)


def not_ranked(author: Author, one: Written, other: Written, random: Random) -> Written | None:
    """A red flag seen, and a list without any condition it warns of."""
    if not one.flags:
        return None
    flags = {f.id for f in author.knowledge.findings.values() if f.name in one.case.red_flags}
    near = (one.case.diagnosis, *one.case.must_not_miss)
    away = [c.name for c in author.knowledge.conditions.values() if not flags & set(c.red_flags) and c.name not in near]
    keep = [name for name in one.listed if name in away]
    rest = [name for name in random.sample(away, 5) if name not in keep]
    return replace(one, listed=tuple([*keep, *rest][:5]))


def _harmless(author: Author, one: Written) -> list[Condition]:
    dangerous = {n.condition for c in author.knowledge.conditions.values() for n in c.must_not_miss}
    specialty = one.case.specialty
    return [c for c in author.knowledge.conditions.values()
            if c.id not in dangerous and c.id != one.case.condition and c.specialty == specialty]  # fmt: skip


def gold_below(author: Author, one: Written, other: Written, random: Random) -> Written | None:
    """The right diagnosis below a harmless one."""
    harmless = [c.name for c in _harmless(author, one)]
    first = next((name for name in one.listed[1:] if name in harmless), random.choice(harmless) if harmless else None)
    if first is None:
        return None
    rest = [name for name in one.listed[1:] if name != first]
    place = random.randint(0, 3)
    return replace(one, listed=tuple([first, *rest[:place], one.listed[0], *rest[place:]][:5]))


def gold_left_out(author: Author, one: Written, other: Written, random: Random) -> Written | None:
    """The right diagnosis, thought of and not listed."""
    harmless = [c.name for c in author.knowledge.conditions.values() if c.name not in one.listed]
    return replace(one, listed=(*one.listed[1:], random.choice(harmless)))


STEP_PLANTS: dict[str, tuple[Plant, ...]] = {
    "invented": (invented,),
    "denied": (denied,),
    "unsupported": (unsupported,),
    "unargued": (unargued,),
}
MODE_PLANTS: dict[str, tuple[Plant, ...]] = {
    "reasoning drift": (drift_elsewhere, drift_other_case, drift_other_list, drift_contradiction),
    "red flag not seen": (not_seen,),
    "red flag seen and dismissed": (dismissed,),
    "red flag seen and not ranked": (not_ranked,),
    "priority inversion": (gold_below, gold_left_out),
}
TWINS: dict[Plant, Plant] = {dismissed: taken_seriously}
"""Where a clean answer would be too easy, what stands against the plant."""
HELD_PLANTS: dict[str, tuple[Plant, ...]] = {"red flag seen and dismissed": (dismissed_otherwise,)}
HELD_TWINS: dict[Plant, Plant] = {dismissed_otherwise: serious_otherwise}
