"""A rubric put to a language model, wherever it runs: a short reply, and a score from its probabilities."""

from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, as_completed
from dataclasses import dataclass
from typing import Any, Protocol

from idem_ray.config.sections import MIN_MASS
from idem_ray.errors import UserError
from idem_ray.judges.language.cache import JudgmentCache
from idem_ray.judges.language.prompt import Message, is_plain, messages
from idem_ray.judges.language.scoring import N_TOP, allowed_words, parsed, score
from idem_ray.records import Exchange, Judgment, Metric, TokenPlace, content_hash
from idem_ray.traits.traits import Rubrics, Trait

FORMULA = 1
"""To be raised with any change of the prompt's making or of the score's, so that scores go by another name."""


class Unanswered(Exception):
    """No reply could be had; the text is the reason, without any key."""


@dataclass(frozen=True)
class Reply:
    """What a judge model said: its first places with log-probabilities (none, where none were asked for or sent)."""

    text: str
    places: list[TokenPlace]


class Respondent(Protocol):
    """A language model that replies to messages. Safe among threads."""

    def submit(self, conversation: list[Message]) -> "Future[Reply]":
        """Ask; the future brings the reply, or raises `Unanswered`."""
        ...

    def close(self) -> None:
        """Give up what is under way."""
        ...


class RubricJudge:
    """One rubric's judge."""

    def __init__(
        self,
        metric: Metric,
        name: str,
        rubrics: Rubrics,
        respondent: Respondent,
        cache: JudgmentCache,
        min_mass: float = MIN_MASS,
        logprobs: bool = True,
    ) -> None:
        """
        Args:
            name: holds a hash of all that decides the scores (`judge_name`).
            min_mass: least probability of the integers in a reply.
            logprobs: whether replies come with log-probabilities; without, their numbers are parsed.
        """
        self.metric: Metric = metric
        self.name = name
        self._rubric: str = getattr(rubrics, metric)
        self._respondent, self._cache = respondent, cache
        self._min_mass, self._logprobs = min_mass, logprobs
        self._words = allowed_words(self._rubric)

    def judge(self, exchanges: Sequence[Exchange], fresh: bool = False) -> list[Judgment]:
        """One judgment each; what the cache has, or stands here twice, is not asked (again). An empty answer is asked
        of nobody: it shows no trait, and no coherence (0).

        Args:
            fresh: whether to ask although the cache has a judgment, which stays as it is: to see a judge drift.
        """
        known: dict[Exchange, Judgment] = {}
        for exchange in dict.fromkeys(exchanges):
            kept = None if fresh else self.kept(exchange)
            if not exchange.answer.strip():
                kept = Judgment(0.0)
            if kept:
                known[exchange] = kept
        asked = {
            self._respondent.submit(messages(self._rubric, exchange)): exchange
            for exchange in dict.fromkeys(exchanges)
            if exchange not in known
        }
        for future in as_completed(asked):
            exchange = asked[future]
            known[exchange] = self._judgment(future)
            if not fresh or not self.kept(exchange):
                self._cache.put(self.name, exchange, known[exchange])  # at once: it was paid for
        return [known[exchange] for exchange in exchanges]

    def kept(self, exchange: Exchange) -> Judgment | None:
        """The judgment that is kept from before, or None."""
        return self._cache.get(self.name, exchange)

    def close(self) -> None:
        """Give up what is being asked, here and by the other judge on the same model."""
        self._respondent.close()

    def _judgment(self, future: "Future[Reply]") -> Judgment:
        try:
            reply = future.result()
        except (Unanswered, CancelledError) as reason:
            return Judgment(None, str(reason) or "the judge was closed")
        if not self._logprobs:
            return parsed(reply.text, self._words)
        if not reply.places:
            return Judgment(None, "the reply came without log-probabilities")
        return score(reply.places, self._words, self._min_mass)


def judge_name(
    kind: str, model: str, metric: Metric, rubrics: Rubrics, *decides: Any, min_mass: float, logprobs: bool = True
) -> str:
    """The name of a rubric's judge.

    Args:
        decides: what else decides the scores.
        logprobs: False ends the name in `:parsed`: such scores are another metric.
    """
    how: tuple[Any, ...] = (N_TOP, min_mass) if logprobs else ("parsed",)
    rubric = getattr(rubrics, metric)
    if is_plain(rubric):  # ordinary text beside its delimiters is escaped, since that was found to complete them
        how += ("apart",)
    known = content_hash(FORMULA, model, metric, rubric, *how, *decides)
    return f"{kind}:{model}:{metric}:{known}" + ("" if logprobs else ":parsed")


def rubrics_of(trait: Trait) -> Rubrics:
    """
    Raises:
        UserError: the trait has none.
    """
    if trait.rubrics is None:
        raise UserError(
            f"Trait '{trait.name}' has no rubrics, and a judge that is a language model needs them: add 'rubrics' with "
            "'trait' and 'coherence' to its file, or use judge: probe."
        )
    return trait.rubrics
