"""The embedded model as a reader of answers: how likely it finds their tokens, and its state while it reads them.

One forward pass gives both, so an answer that is judged for coherence costs the trait judge nothing more.
"""

import copy
import os.path
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idem_ray.engine.render import Renderer
from idem_ray.judges.embedded.shipped import key_of, shipped_states
from idem_ray.models import EMBEDDED, folder_hash, resolve_model
from idem_ray.records import Exchange, content_hash

if TYPE_CHECKING:
    import numpy as np

MAX_ANSWER_TOKENS = 1024
MAX_QUESTION_CHARACTERS = 2000
"""What is longer is read up to here."""

FORMULA = 1
"""To be raised with any change of what is read or of how a state is made of it."""

DEPTH = 0.6
"""The layer whose output is the state, as a fraction of all layers: the 18th of the embedded model's 30. Of its layers
6 to 27, those from 15 to 21 told traits apart equally well; personas are best read and steered in middle layers (Chen
et al. 2025, arXiv 2507.21509)."""

_MAX_BATCH_TOKENS = 2048
_MAX_BATCH_ROWS = 32
_N_KEPT = 4096
"""States that are kept: 9 MB."""

_LOGIT_ROWS = 512
"""Positions whose logits are held at once in float32 (100 MB for 49,152 words)."""


@dataclass(frozen=True)
class Reading:
    """One answer as it was read after its question. `logprobs`: natural log-probabilities of its tokens, the end of
    turn last; `whole`: whether all of the answer was read."""

    logprobs: list[float]
    whole: bool


def embedded_reader() -> "Reader":
    """The embedded model as a reader.

    Raises:
        UserError: its package is not installed.
    """
    return Reader(resolve_model(EMBEDDED))


class Reader:
    """One chat model, in bf16.

    What all prompts begin with, the template's system message, is run once and kept: a fifth of the tokens of a short
    exchange.
    """

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
        self._model = model.eval()
        n_lower = max(1, round(DEPTH * len(self._model.model.layers)))
        self._lower = _lower_layers(self._model.model, n_lower)
        self._model.model.layers[n_lower - 1].register_forward_hook(self._note_states)
        self._noted: Any = None
        self._states: dict[Exchange, np.ndarray[Any, Any]] = {}
        self._shipped: dict[str, np.ndarray[Any, Any]] | None = None
        self.hash = folder_hash(folder)
        self.state_hash = content_hash(FORMULA, self.hash, n_lower, MAX_ANSWER_TOKENS, MAX_QUESTION_CHARACTERS)
        self.renderer = Renderer.of(folder)
        self._heads: dict[tuple[int, ...], Any] = {}
        self._template_head = list(os.path.commonprefix([self.renderer.prompt_ids("A"), self.renderer.prompt_ids("B")]))

    def read(self, exchanges: Sequence[Exchange]) -> list[Reading]:
        """Read answers after their own questions. Their states are kept for `states`."""
        turns = [self.renderer.response_ids(exchange.answer.strip()) for exchange in exchanges]
        cut = [turn[:MAX_ANSWER_TOKENS] for turn in turns]
        logprobs, states = self._score(self._template_head, self._prompts(exchanges), cut)
        self._keep(exchanges, states)
        return [Reading(found, len(turn) <= MAX_ANSWER_TOKENS) for found, turn in zip(logprobs, turns, strict=True)]

    def states(self, exchanges: Sequence[Exchange], fresh: bool = False) -> "np.ndarray[Any, Any]":
        """The model's states, one row for each exchange: means over the answer's tokens. What is shipped, or was read
        lately, costs nothing (unless `fresh`); else only the lower layers run."""
        import numpy as np

        if self._shipped is None:
            self._shipped = shipped_states(self.state_hash)
        known: dict[Exchange, Any] = {}
        for exchange in {} if fresh else dict.fromkeys(exchanges):
            state = self._shipped.get(key_of(exchange), self._states.get(exchange))
            if state is not None:
                known[exchange] = state
        new = [exchange for exchange in dict.fromkeys(exchanges) if exchange not in known]
        if new:
            turns = [self.renderer.response_ids(exchange.answer.strip())[:MAX_ANSWER_TOKENS] for exchange in new]
            _, states = self._score(self._template_head, self._prompts(new), turns, states_only=True)
            known |= zip(new, states, strict=True)
            self._keep(new, states)
        return np.stack([known[exchange] for exchange in exchanges])

    def _keep(self, exchanges: Sequence[Exchange], states: "list[np.ndarray[Any, Any]]") -> None:
        self._states |= zip(exchanges, states, strict=True)
        for exchange in list(self._states)[: max(0, len(self._states) - _N_KEPT)]:
            del self._states[exchange]

    def given_question(self, question: str, answers: Sequence[list[int]]) -> list[list[float]]:
        """Log-probabilities of answers (token ids) after one question that is put to all of them."""
        prompt = self.renderer.prompt_ids(question)
        return self._score(prompt[:-1], [prompt[-1:]] * len(answers), answers)[0]

    def _prompts(self, exchanges: Sequence[Exchange]) -> list[list[int]]:
        questions = [exchange.question[:MAX_QUESTION_CHARACTERS] for exchange in exchanges]
        return [self.renderer.prompt_ids(question)[len(self._template_head) :] for question in questions]

    def _score(
        self, head: list[int], prompts: list[list[int]], answers: Sequence[list[int]], states_only: bool = False
    ) -> "tuple[list[list[float]], list[np.ndarray[Any, Any]]]":
        import torch

        logprobs: list[list[float]] = [[] for _ in answers]
        states: list[Any] = [None] * len(answers)
        with torch.no_grad():
            for batch in _batches([len(p) + len(a) for p, a in zip(prompts, answers, strict=True)]):
                chosen = [prompts[i] for i in batch], [answers[i] for i in batch]
                found = self._read_batch(head, *chosen, states_only)
                for index, row, state in zip(batch, *found, strict=True):
                    logprobs[index], states[index] = row, state
        return logprobs, states

    def _read_batch(
        self, head: list[int], prompts: list[list[int]], answers: list[list[int]], states_only: bool
    ) -> "tuple[list[list[float]], list[np.ndarray[Any, Any]]]":
        import torch

        rows = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
        width = max(len(row) for row in rows)
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * (len(head) + len(row)) + [0] * (width - len(row)) for row in rows])
        cache = copy.deepcopy(self._head_cache(head))
        cache.batch_repeat_interleave(len(rows))
        model = self._lower if states_only else self._model.model
        hidden = model(input_ids=ids, attention_mask=mask, past_key_values=cache).last_hidden_state
        noted = hidden if states_only else self._noted
        spans = [(len(prompt), len(row)) for prompt, row in zip(prompts, rows, strict=True)]
        # The end of turn is no part of what was said.
        states = [
            noted[row, start : max(start + 1, end - 1)].float().mean(dim=0).numpy()
            for row, (start, end) in enumerate(spans)
        ]
        if states_only:
            return [[] for _ in rows], states
        before = torch.cat([hidden[row, start - 1 : end - 1] for row, (start, end) in enumerate(spans)])
        targets = torch.tensor([token for answer in answers for token in answer], dtype=torch.long)
        flat = self._token_logprobs(before, targets)
        return [part.tolist() for part in flat.split([len(answer) for answer in answers])], states

    def _note_states(self, layer: Any, arguments: Any, output: Any) -> None:
        self._noted = output[0] if isinstance(output, tuple) else output

    def _token_logprobs(self, states: Any, targets: Any) -> Any:
        import torch

        parts = []
        for start in range(0, len(targets), _LOGIT_ROWS):
            logits = self._model.lm_head(states[start : start + _LOGIT_ROWS]).float()
            chosen = logits.gather(1, targets[start : start + _LOGIT_ROWS, None])[:, 0]
            parts.append(chosen - logits.logsumexp(dim=1))
        return torch.cat(parts)

    def _head_cache(self, head: list[int]) -> Any:
        key = tuple(head)
        if key not in self._heads:
            import torch

            output = self._model.model(input_ids=torch.tensor([head]), use_cache=True)
            self._heads[key] = output.past_key_values
        return self._heads[key]


def _lower_layers(model: Any, n_layers: int) -> Any:
    """The first layers as a model that shares its weights with the whole one."""
    import torch

    lower = copy.copy(model)
    # A copied module still has its parent's table of parts: setting one would change both.
    lower._modules = dict(model._modules)
    lower.layers = model.layers[:n_layers]
    lower.norm = torch.nn.Identity()
    return lower


def _batches(lengths: list[int]) -> list[list[int]]:
    """Indices grouped by length, so that little is padding."""
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: lengths[index]):
        full = not batches or len(batches[-1]) == _MAX_BATCH_ROWS
        if full or (len(batches[-1]) + 1) * lengths[index] > _MAX_BATCH_TOKENS:
            batches.append([])
        batches[-1].append(index)
    return batches
