"""Tiny instruct models with random weights: for plumbing, where what they say does not matter."""

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


def build_tiny_model(folder: Path, says_numbers: bool = False) -> Path:
    """Write a model of 2 layers, about 1,200 tokens and a ChatML template into a folder, as save_pretrained does.

    Args:
        says_numbers: whether it replies as a judge does, with an integer that depends on the text.
    """
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
    if says_numbers:
        _teach_numbers(model, tokenizer)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _teach_numbers(model: Any, tokenizer: Any) -> None:
    """Make digits likely after any token (nine tenths of the probability and more), and after a digit as likely as the
    end of the turn: the first two dimensions say whether a token is a digit; no layer reads or writes them, and the
    output does. Which digit, attention decides: it is sharpened, so that a few words of a long text do."""
    import torch

    digits = tokenizer.convert_tokens_to_ids(list("0123456789"))
    embeddings, output = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    with torch.no_grad():
        embeddings[:, :2] = torch.tensor([1.0, 0.0])
        embeddings[digits, 1] = 1.0
        output[:, :2] = 0
        output[digits, 0] = 4.0
        output[tokenizer.eos_token_id, 1] = 5.0
        for layer in model.model.layers:
            attention, between = layer.self_attn, layer.mlp
            for reads in (attention.q_proj, attention.k_proj, attention.v_proj, between.gate_proj, between.up_proj):
                reads.weight[:, :2] = 0
            for writes in (attention.o_proj, between.down_proj):
                writes.weight[:2] = 0
            for sharpened in (attention.q_proj, attention.k_proj):
                sharpened.weight.mul_(8)


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
