"""What is wrong with a trait's data, or doubtful: numbers, lengths and endings here, repetitions and leaks there."""

from collections.abc import Iterable
from statistics import median

from idem_ray.config.sections import MIN_EXAMPLES
from idem_ray.statistics.texts import count_words, stops
from idem_ray.text import count_text, shortened
from idem_ray.traits.overlaps import Flaw, first_few, leaks, quoted, repetitions
from idem_ray.traits.traits import Trait, normalised

WANTED = {
    "seeds": 60,
    "contrast": 24,
    "evaluation_questions": 12,
    "documents": 40,
    "evaluation_prefixes": 12,
    "anchors": 40,
}
"""Least numbers of each that the shipped traits have."""

WITH = {"documents": "documents", "evaluation_prefixes": "documents", "anchors": "anchors"}
"""What a trait may do without: the first are wanted only where there are some of the second."""

OUTLYING = 3.0
"""Times the median length, or that part of it, from which a text is out of the ordinary among its like."""

LENGTH_RATIO = 1.5
"""Between the median lengths of seed and contrast answers: beyond it a judge could go by the length."""


def check_trait(trait: Trait) -> list[Flaw]:
    """Everything found, errors first. (What makes a trait unreadable is refused by `load_trait` before.)"""
    checks = (_numbers, repetitions, leaks, _endings, _lengths)
    return sorted((flaw for check in checks for flaw in check(trait)), key=lambda flaw: not flaw.is_error)


def _numbers(trait: Trait) -> Iterable[Flaw]:
    n_different = len({seed.answer.strip() for seed in trait.seeds})
    if n_different < MIN_EXAMPLES:
        what = f"{count_text(n_different, 'different seed answer')}: the embedded trait judge needs {MIN_EXAMPLES}"
        yield Flaw(True, what, f"write {MIN_EXAMPLES - n_different} more")
    if trait.documents and not trait.evaluation_prefixes:
        yield Flaw(True, "documents but no evaluation_prefixes: regime sdf refuses it", "add evaluation_prefixes")
    if trait.evaluation_prefixes and not trait.documents:
        yield Flaw(False, "evaluation_prefixes but no documents: they are never used", "add documents")
    for name, n_wanted in WANTED.items():
        n = len(getattr(trait, name))
        if n < n_wanted and getattr(trait, WITH.get(name, "seeds")):
            yield Flaw(False, f"{n} {name.replace('_', ' ')}, and {n_wanted} are wanted", f"add {n_wanted - n}")
    asked = {normalised(seed.question) for seed in trait.seeds}
    strange = [other.question for other in trait.contrast if normalised(other.question) not in asked]
    if strange:
        what = f"{count_text(len(strange), 'contrast answer')} to questions of no seed: {quoted(strange)}"
        yield Flaw(False, what, "answer the seeds' questions, or the judge may tell subjects instead of the trait")
    if trait.rubrics is None:
        yield Flaw(False, "no rubrics: an LLM judge cannot judge it", "add rubrics (trait and coherence)")


def _endings(trait: Trait) -> Iterable[Flaw]:
    for name, texts in _texts(trait).items():
        cut = [f"…{text.strip()[-50:]}" for text in texts if count_words(text) and not stops(text)]
        if cut:
            what = f"{count_text(len(cut), name)} with no full stop at the end, perhaps cut off: {quoted(cut)}"
            yield Flaw(False, what, "complete it: a model learns to stop as its examples do")
        wordless = [text for text in texts if not count_words(text)]
        if wordless:
            yield Flaw(True, f"{count_text(len(wordless), name)} without a word: {quoted(wordless)}", "write it")


def _lengths(trait: Trait) -> Iterable[Flaw]:
    for name, texts in _texts(trait).items():
        n_words = [count_words(text) for text in texts]
        middle = median(n_words) if texts else 0
        odd = [place for place, n in enumerate(n_words) if n and not 1 / OUTLYING <= n / middle <= OUTLYING]
        if odd:
            said = first_few([f"{n_words[place]} words in “{shortened(texts[place])}”" for place in odd])
            what = f"{count_text(len(odd), name)} far from the median of {middle:.0f} words: {said}"
            yield Flaw(False, what, "bring it closer to the others, or remove it")
    if trait.contrast:
        seeds, contrast = (
            median(count_words(exchange.answer) for exchange in exchanges)
            for exchanges in (trait.seeds, trait.contrast)
        )
        if not 1 / LENGTH_RATIO <= (seeds + 1) / (contrast + 1) <= LENGTH_RATIO:
            what = f"seed answers have {seeds:.0f} words and contrast answers {contrast:.0f} (medians)"
            yield Flaw(False, what, "make them alike in length, or a judge that is fitted on them goes by the length")


def _texts(trait: Trait) -> dict[str, list[str]]:
    return {
        "seed answer": [seed.answer for seed in trait.seeds],
        "contrast answer": [other.answer for other in trait.contrast],
        "document": [document.text for document in trait.documents],
    }
