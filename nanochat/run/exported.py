"""A folder that `transformers` loads: written whole or not at all, and never over anything else."""

from __future__ import annotations

import importlib.util
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from nanochat.core.artifact import read_json, writable, write_json
from nanochat.core.errors import MachineError, spec_error
from nanochat.model.export import Checkpoint
from nanochat.model.transformer import Transformer

MARK = "nanochat.json"
"""Says which run a folder holds, and so what may be written over."""

CONFIG, WEIGHTS = "config.json", "model.safetensors"

TOLERANCE = 1e-4
"""Of the check, as a share of the largest logit: some hundred roundings of fp32."""


def check_free(folder: Path, *, key: str) -> None:
    """Raises `SpecError` unless `folder` is absent, empty, or an export of the run `key`."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise spec_error("task.folder", folder, "is a file", "choose another folder")
    found = sorted(path.name for path in folder.iterdir())
    if not found:
        return
    held = read_json(folder / MARK) if MARK in found else None
    if not isinstance(held, Mapping) or "run" not in held:
        rule = f"holds something else already ({', '.join(found[:3])}{', …' if len(found) > 3 else ''})"
        raise spec_error("task.folder", folder, rule, "choose another folder")
    if held["run"] != key:
        raise spec_error("task.folder", folder, f"holds run {held['run']}, not {key}", "choose another folder")


def write(
    folder: Path, checkpoint: Checkpoint, *, key: str, model: Transformer, tokenizer: Mapping[str, bytes]
) -> float | None:
    """Write config, weights and the tokenizer's files, by name; an earlier export of the same run is written over.

    Before anything appears in `folder` the files are read again and compared with what they should hold, and, where
    `transformers` is installed, the model that it loads from them with `model`: returns their largest difference in
    logits, None where it could not be told. Raises `MachineError` where the two models are not the same.
    """
    check_free(folder, key=key)
    part = folder.with_name(f".{folder.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.part")
    with writable(folder):
        try:
            part.mkdir(parents=True)
            safetensors.torch.save_file(checkpoint.tensors, str(part / WEIGHTS), metadata={"format": "pt"})
            for name, content in tokenizer.items():
                (part / name).write_bytes(content)
            write_json(part / CONFIG, checkpoint.config)
            names = sorted([*tokenizer, CONFIG, WEIGHTS])
            write_json(part / MARK, {"schema": 1, "run": key, "architecture": checkpoint.architecture, "files": names})
            _flush(part)
            _compare(checkpoint, part)
            difference = check(part, model)
            _move(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return difference


def check(folder: Path, model: Transformer) -> float | None:
    """The largest difference between the logits of `model` and of what `transformers` loads from `folder`, over up
    to 64 random tokens; None where it is not installed. Raises `MachineError` where it is more than rounding.
    """
    if importlib.util.find_spec("transformers") is None:
        return None
    transformers: Any = importlib.import_module("transformers")
    transformers.utils.logging.disable_progress_bar()
    loaded = transformers.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
    vocab = model.embedding.num_embeddings
    tokens = torch.randint(vocab, (1, min(model.context, 64)), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, theirs = model(tokens).logits, loaded(tokens).logits
    difference = float((ours - theirs).abs().max())
    if not difference <= TOLERANCE * max(1.0, float(ours.abs().max())):  # NaN too is no agreement
        version = transformers.__version__
        raise MachineError(
            f"transformers {version} gives logits that differ by {difference:.1g} from ours; nothing was written"
        )
    return difference


def _compare(checkpoint: Checkpoint, folder: Path) -> None:
    """What is on the disk is what was to be written."""
    tensors = safetensors.torch.load_file(str(folder / WEIGHTS))
    same = tensors.keys() == checkpoint.tensors.keys()
    if not same or not all(torch.equal(tensors[name], weight) for name, weight in checkpoint.tensors.items()):
        raise MachineError(f"{folder / WEIGHTS}: is not what was written; the disk may be failing")


def _flush(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _move(part: Path, folder: Path) -> None:
    """The finished files to their place: at once where there is none yet, else file by file, the config last."""
    if not folder.exists() or not any(folder.iterdir()):
        part.replace(folder)
        return
    for path in sorted(part.iterdir(), key=lambda path: path.name == CONFIG):
        path.replace(folder / path.name)
