"""How likely a language model finds answers: one forward pass, read at the answers' positions alone."""

import copy
import os.path
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from idem_ray.judges.identity import folder_hash
from idem_ray.render import Renderer

_MAX_BATCH_TOKENS = 2048
_MAX_BATCH_ROWS = 32
_LOGIT_ROWS = 512
"""Positions whose logits are held at once in float32 (100 MB for 49,152 words)."""


class Likelihood:
    """Log-probabilities (natural, so at most 0) of answers' tokens, under one chat model in bf16.

    What all prompts begin with, the template's system message, is run once and kept: a fifth of the tokens of a short
    exchange.
    """

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        self.hash = folder_hash(folder)
        self.renderer = Renderer.of(folder)
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
        self._model = model.eval()
        self._heads: dict[tuple[int, ...], Any] = {}
        self._template_head = list(os.path.commonprefix([self.renderer.prompt_ids("A"), self.renderer.prompt_ids("B")]))

    def given_questions(self, questions: Sequence[str], answers: Sequence[list[int]]) -> list[list[float]]:
        """For each answer (token ids), its tokens' log-probabilities after its own question."""
        n_head = len(self._template_head)
        prompts = [self.renderer.prompt_ids(question)[n_head:] for question in questions]
        return self._score(self._template_head, prompts, answers)

    def given_question(self, question: str, answers: Sequence[list[int]]) -> list[list[float]]:
        """The same after one question that is put to all of them."""
        prompt = self.renderer.prompt_ids(question)
        return self._score(prompt[:-1], [prompt[-1:]] * len(answers), answers)

    def _score(self, head: list[int], prompts: list[list[int]], answers: Sequence[list[int]]) -> list[list[float]]:
        import torch

        scores: list[list[float]] = [[] for _ in answers]
        with torch.no_grad():
            for batch in _batches([len(p) + len(a) for p, a in zip(prompts, answers, strict=True)]):
                found = self._score_batch(head, [prompts[i] for i in batch], [answers[i] for i in batch])
                for index, row in zip(batch, found, strict=True):
                    scores[index] = row
        return scores

    def _score_batch(self, head: list[int], prompts: list[list[int]], answers: list[list[int]]) -> list[list[float]]:
        import torch

        rows = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
        width = max(len(row) for row in rows)
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * (len(head) + len(row)) + [0] * (width - len(row)) for row in rows])
        cache = copy.deepcopy(self._head_cache(head))
        cache.batch_repeat_interleave(len(rows))
        hidden = self._model.model(input_ids=ids, attention_mask=mask, past_key_values=cache).last_hidden_state
        starts = [len(prompt) - 1 for prompt in prompts]  # a token is predicted at the place before it
        ends = [len(row) - 1 for row in rows]
        places = zip(starts, ends, strict=True)
        states = torch.cat([hidden[row, start:end] for row, (start, end) in enumerate(places)])
        targets = torch.tensor([token for answer in answers for token in answer], dtype=torch.long)
        flat = self._token_logprobs(states, targets)
        return [part.tolist() for part in flat.split([len(answer) for answer in answers])]

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


def _batches(lengths: list[int]) -> list[list[int]]:
    """Indices grouped by length, so that little is padding."""
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: lengths[index]):
        full = not batches or len(batches[-1]) == _MAX_BATCH_ROWS
        if full or (len(batches[-1]) + 1) * lengths[index] > _MAX_BATCH_TOKENS:
            batches.append([])
        batches[-1].append(index)
    return batches
