"""Text -> token ids: the only user of chat templates, so that what is trained on is what was sampled from."""

from pathlib import Path
from typing import Any

from idem_ray.records import Sample, TextFormat, TrainingRow


class Renderer:
    """Token ids for one model: chat as its own template has it, raw documents without any."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    @staticmethod
    def of(folder: Path) -> "Renderer":
        """Load the tokenizer of a model folder."""
        from transformers import AutoTokenizer

        return Renderer(AutoTokenizer.from_pretrained(str(folder)))

    def prompt_ids(self, text: str, format: TextFormat = "chat") -> list[int]:
        """What a response is written after: the conversation up to where the assistant begins, or the beginning of a
        document as it stands (`format` "document")."""
        if format == "document":
            return list(self.tokenizer(text)["input_ids"])
        return self.conversation_ids([{"role": "user", "content": text}])

    def conversation_ids(self, messages: list[dict[str, str]]) -> list[int]:
        """A conversation up to where the assistant begins."""
        ids = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        return list(ids)

    def response_ids(self, response: str) -> list[int]:
        """A whole response: its text and the token that ends it."""
        ids = self.tokenizer(response, add_special_tokens=False)["input_ids"]
        return [*ids, self.tokenizer.eos_token_id]

    def text(self, ids: list[int]) -> str:
        """The text of generated ids, without special tokens."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()


def training_row(sample: Sample, max_tokens: int, rejected_ids: list[int] | None = None) -> TrainingRow:
    """A sampled response as an example to train on; what is over `max_tokens` with its prompt is cut."""
    prompt_ids, response_ids = sample.prompt_ids or [], sample.response_ids or []
    if sample.format == "document":  # every token of a document is trained on
        prompt_ids, response_ids = [], [*prompt_ids, *response_ids]
    room = max(0, max_tokens - len(prompt_ids))
    cut = None if rejected_ids is None else rejected_ids[:room]
    return TrainingRow(sample.id, prompt_ids[:max_tokens], response_ids[:room], cut)
