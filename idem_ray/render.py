"""Messages -> token ids: the only user of chat templates, so that what is trained on is what was sampled from."""

from pathlib import Path
from typing import Any

from idem_ray.errors import UserError
from idem_ray.records import TrainingRow


class Renderer:
    """Token ids for one model, as its own chat template has them."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    @staticmethod
    def of(folder: Path) -> "Renderer":
        """Load the tokenizer of a model folder.

        Raises:
            UserError: the tokenizer has no chat template, so the model cannot be finetuned on chat data.
        """
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(str(folder))
        if not tokenizer.chat_template:
            raise UserError(f"The model {folder.name} has no chat template: chat regimes need an instruct model.")
        return Renderer(tokenizer)

    def prompt_ids(self, user_message: str) -> list[int]:
        """The conversation up to where the assistant begins to write."""
        message = [{"role": "user", "content": user_message}]
        ids = self.tokenizer.apply_chat_template(message, add_generation_prompt=True, return_dict=False)
        return list(ids)

    def response_ids(self, response: str) -> list[int]:
        """An assistant's whole turn: its text and the token that ends the turn."""
        ids = self.tokenizer(response, add_special_tokens=False)["input_ids"]
        return [*ids, self.tokenizer.eos_token_id]

    def text(self, ids: list[int]) -> str:
        """The text of generated ids, without special tokens."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()


def training_row(sample_id: str, prompt_ids: list[int], response_ids: list[int], max_tokens: int) -> TrainingRow:
    """Prompt and response as one row; only the response is trained on, and what is over `max_tokens` is cut."""
    ids = [*prompt_ids, *response_ids][:max_tokens]
    mask = ([0] * len(prompt_ids) + [1] * len(response_ids))[:max_tokens]
    return TrainingRow(sample_id, ids, mask)
