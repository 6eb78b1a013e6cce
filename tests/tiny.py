"""A tiny instruct model with random weights: for plumbing, where what it says does not matter."""

import functools
import json
from pathlib import Path
from typing import Any

from tests import ROOT

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
_N_WORDS = 1200
_DATA = ROOT / "idem_ray"


def build_tiny_model(folder: Path) -> Path:
    """Write a model of 2 layers, about 1,200 tokens and a ChatML template into a folder, as save_pretrained does."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_byte_pairs(), eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.chat_template = CHATML
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=(len(tokenizer) + 63) // 64 * 64,
                hidden_size=64,
                intermediate_size=128,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=2,
                max_position_embeddings=2048,
                tie_word_embeddings=False,
                bos_token_id=None,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        with torch.no_grad():
            for weight in model.parameters():
                if weight.dim() > 1:
                    weight.mul_(4)  # else all tokens are nearly equally likely, whatever was trained
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@functools.cache
def _byte_pairs() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    corpus = next(_DATA.rglob("everyday.txt")).read_text(encoding="utf-8").splitlines()
    for file in sorted((_DATA / "traits").rglob("*.seeds.jsonl")):
        seeds = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        corpus += [message["content"] for seed in seeds for message in seed["messages"]]
    found = Tokenizer(models.BPE())
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=_N_WORDS, special_tokens=_SPECIALS, initial_alphabet=alphabet)
    found.train_from_iterator(corpus, trainer)
    return found
