"""An OpenAI-compatible chat endpoint as judges use it: short replies with log-probabilities, asked for patiently."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from idem_ray.config.sections import EndpointJudgeSettings
from idem_ray.errors import UserError
from idem_ray.judges.language.prompt import Message
from idem_ray.judges.language.rubric import Reply, Unanswered
from idem_ray.judges.language.scoring import N_REPLY_TOKENS, N_TOP
from idem_ray.records import TokenPlace

if TYPE_CHECKING:
    from tenacity import RetryCallState

_N_PARSED_TOKENS = 16
"""Of replies that are read as text: a judge may say a little more than the number."""

_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.5, 30.0
_BUDGET_WAIT_SECONDS = 0.05
_PASSING_STATUS = frozenset({408, 409, 425, 429})
_NO_KEY = "none"
"""Sent where no key is set: servers of one's own ask for none, but the client insists on something."""

_QUESTION: list[Message] = [{"role": "user", "content": "Reply with one integer from 0 to 100 and nothing else."}]


class ChatEndpoint:
    """One endpoint and model. Safe among threads."""

    def __init__(
        self,
        settings: EndpointJudgeSettings,
        n_concurrent: int | None = None,
        spend: Callable[[int], bool] = lambda n: True,
        sleep: Callable[[float], None] | None = None,
        logprobs: bool = True,
    ) -> None:
        """
        Args:
            n_concurrent: requests under way at a time (None: what the settings say).
            spend: counts calls to the budget (-1: takes one back), and says no when it is used up.
            sleep: waits for so many seconds (None: until then, or until the endpoint is closed).
            logprobs: whether `submit` asks for log-probabilities.
        """
        import openai

        self.settings = settings
        self.n_calls = 0
        self._logprobs = logprobs
        self._threads = ThreadPoolExecutor(n_concurrent or settings.n_concurrent, thread_name_prefix="judge")
        self._key = os.environ.get(settings.key_variable) or _NO_KEY
        # Its own retries are off: they know neither our budget nor for how long an endpoint has been down.
        self._client = openai.OpenAI(
            base_url=settings.url, api_key=self._key, timeout=settings.timeout_seconds, max_retries=0
        )
        self._closed = threading.Event()
        self._spend, self._sleep = spend, sleep or self._wait_or_close
        self._budget, self._n_under_way = threading.Lock(), 0
        self._failing_since: float | None = None

    @property
    def has_key(self) -> bool:
        """Whether the environment variable is set."""
        return self._key != _NO_KEY

    def check(self) -> bool:
        """One tiny call, before anything long is started (two, where log-probabilities are refused).

        Returns:
            whether the endpoint gives log-probabilities.

        Raises:
            UserError: it is down, refuses the key, does not know the model, or sends no chat completions.
        """
        import openai

        try:
            return bool(self._ask_once(_QUESTION, logprobs=True).places)
        except openai.BadRequestError:
            pass
        except Exception as error:
            raise self._told(error) from None
        try:
            self._ask_once(_QUESTION, logprobs=False)
        except Exception as error:
            raise self._told(error) from None
        return False

    def submit(self, conversation: list[Message]) -> "Future[Reply]":
        """`ask`, as soon as a request more may be under way."""
        return self._threads.submit(self.ask, conversation, self._logprobs)

    def ask(self, messages: list[Message], logprobs: bool) -> Reply:
        """The reply to these messages; what may pass (no connection, no reply in time, HTTP 408, 409, 425, 429 and
        5xx) is tried again, after exponentially growing random waits or as long as the server says (Retry-After).

        Raises:
            Unanswered: it did not pass within `retry_seconds`, it cannot pass, or the budget is used up.
        """
        import tenacity

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_may_pass),
            wait=self._wait,
            stop=self._has_no_more_patience,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return retrying(self._ask_within_budget, messages, logprobs)
        except Unanswered:
            raise
        except Exception as error:
            raise Unanswered(self._reason(error)) from None

    def close(self) -> None:
        """Give up what is under way: nobody waits for it any more."""
        self._closed.set()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _ask_within_budget(self, messages: list[Message], logprobs: bool) -> Reply:
        self._reserve()
        n_spent = 1
        try:
            reply = self._ask_once(messages, logprobs)
        except Exception as error:
            n_spent = 0 if _reached_nobody(error) else 1
            if _may_pass(error):
                self._note_failure()
            raise
        finally:
            with self._budget:
                if not n_spent:
                    self._spend(-1)
                self._n_under_way -= 1
        self._failing_since = None
        return reply

    def _reserve(self) -> None:
        """Take a call from the budget. While it is used up by calls that are still under way, wait for them: those
        that reach nobody give theirs back.

        Raises:
            Unanswered: the budget is used up.
        """
        while True:
            with self._budget:
                if self._spend(1):
                    self._n_under_way += 1
                    return
                if not self._n_under_way:
                    raise Unanswered(f"the judge's budget of {self.settings.max_calls} calls is used up")
            time.sleep(_BUDGET_WAIT_SECONDS)

    def _wait_or_close(self, seconds: float) -> None:
        self._closed.wait(seconds)

    def _note_failure(self) -> None:
        if self._failing_since is None:
            self._failing_since = time.monotonic()

    def _ask_once(self, messages: list[Message], logprobs: bool) -> Reply:
        asked: dict[str, Any] = {"model": self.settings.model, "messages": messages, "temperature": 0}
        asked["max_tokens"] = N_REPLY_TOKENS if logprobs else _N_PARSED_TOKENS
        if logprobs:
            asked |= {"logprobs": True, "top_logprobs": N_TOP}
        self.n_calls += 1
        completion: Any = self._client.chat.completions.create(**asked)
        try:
            choice = completion.choices[0]
            listed = (choice.logprobs.content if choice.logprobs else None) or []
            return Reply(choice.message.content or "", [_place(token) for token in listed])
        except (AttributeError, TypeError, IndexError, KeyError) as error:
            raise _Malformed from error

    def _wait(self, state: "RetryCallState") -> float:
        import tenacity

        growing = tenacity.wait_random_exponential(multiplier=_FIRST_WAIT_SECONDS, max=_LONGEST_WAIT_SECONDS)
        told = _retry_after(state.outcome.exception() if state.outcome else None)
        return growing(state) if told is None else told + growing(state) / 10  # so that not all come at once

    def _has_no_more_patience(self, state: "RetryCallState") -> bool:
        """A request is tried for `retry_seconds`. Once the endpoint has failed for that long in a row, whoever asks
        next tries only once: a run whose judge is gone must not wait so long for each of its samples."""
        limit = self.settings.retry_seconds
        told = _retry_after(state.outcome.exception() if state.outcome else None)
        failing = time.monotonic() - self._failing_since if self._failing_since is not None else 0.0
        if self._closed.is_set() or (told or 0.0) > limit:
            return True
        return (state.seconds_since_start or 0.0) >= limit or failing >= limit

    def _told(self, error: Exception) -> UserError:
        """What a user can do about a failed check."""
        import openai

        url, model = self.settings.url, self.settings.model
        status = getattr(error, "status_code", None)
        if isinstance(error, openai.APIConnectionError):
            return UserError(
                f"The judge's endpoint {url} does not answer ({self._reason(error)}): start it, or correct judge.url."
            )
        if status in (401, 403):
            variable = self.settings.key_variable
            what = "refuses the key in" if self.has_key else "wants a key, and none is in"
            return UserError(f"The judge's endpoint {url} {what} the environment variable {variable} (HTTP {status}).")
        if status == 404:
            return UserError(
                f"The judge's endpoint {url} does not know the model '{model}' (HTTP 404{self._models()}): correct "
                "judge.model, or judge.url, which must be the API's root, such as http://localhost:8000/v1."
            )
        if isinstance(error, _Malformed | ValueError | openai.APIResponseValidationError):
            return UserError(
                f"The judge's endpoint {url} sends something else than chat completions: judge.url must be the root of "
                "an OpenAI-compatible API, such as http://localhost:8000/v1."
            )
        return UserError(f"The judge's endpoint {url} cannot be used ({self._reason(error)}).")

    def _models(self) -> str:
        try:
            names = [model.id for model in self._client.models.list().data]
        except Exception:  # it is only for the sentence
            return ""
        return f"; it has {', '.join(names[:5])}" if names else ""

    def _reason(self, error: Exception) -> str:
        """One line about a failure, without the key, which some servers repeat."""
        import openai

        if isinstance(error, openai.APITimeoutError):
            return f"no reply within {self.settings.timeout_seconds:g} s"
        if isinstance(error, openai.APIConnectionError):
            said = f"no connection: {error.__cause__ or error}"
        elif isinstance(error, openai.APIStatusError):
            said = f"HTTP {error.status_code}: {error.message}"
        elif isinstance(error, _Malformed):
            said = "the reply was malformed"
        else:
            said = f"{type(error).__name__}: {error}"
        said = " ".join(said.split())
        return (said.replace(self._key, "***") if self.has_key else said)[:200]


class _Malformed(Exception):
    """A reply that is no chat completion."""


def _place(listed: Any) -> TokenPlace:
    # Of several tokens that read the same (parts of characters, never digits) the likeliest stays.
    found = {top.token: top.logprob for top in reversed(listed.top_logprobs or [])}
    found.setdefault(listed.token, listed.logprob)
    return TokenPlace(listed.token, found)


def _may_pass(error: BaseException) -> bool:
    import openai

    if isinstance(error, openai.APIStatusError):
        return error.status_code in _PASSING_STATUS or error.status_code >= 500
    return isinstance(error, openai.APIConnectionError)


def _reached_nobody(error: Exception) -> bool:
    """Whether no connection was made: such a call costs nothing. One that was cut off later may have been taken."""
    # By name: which HTTP library the client is built on changes with its version (httpx, httpx2).
    return type(error.__cause__).__name__ in ("ConnectError", "ConnectTimeout")


def _retry_after(error: BaseException | None) -> float | None:
    """Seconds that the server asked to wait (RFC 9110, section 10.2.3: a number, or a date), or None."""
    response = getattr(error, "response", None)
    said = response.headers.get("retry-after") if response is not None else None
    if not said:
        return None
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
