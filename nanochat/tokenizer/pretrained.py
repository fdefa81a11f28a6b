"""Tokenizers as the files that `transformers.AutoTokenizer` reads, where it can give the same ids."""

from __future__ import annotations

import json
from typing import Any

from nanochat.tokenizer.base import Tokenizer, TokenizerSpec
from nanochat.tokenizer.byte import BYTES, Byte
from nanochat.tokenizer.sentencepiece import MODEL, SentencePiece, SentencePieceSpec

CONFIG = "tokenizer_config.json"
"""Among the files where `AutoTokenizer` reads them."""

BOS = "<s>"
PRINTABLE = (*range(33, 127), *range(161, 173), *range(174, 256))


def pretrained_files(spec: TokenizerSpec, tokenizer: Tokenizer) -> dict[str, bytes]:
    """Contents by file name; empty where there is nothing that others could read.

    `CONFIG` is among them where `AutoTokenizer` encodes as `tokenizer` does, the beginning of text put in front; the
    one difference is that the text `<s>` is taken for that token, and, under SentencePiece, U+2581 for a space. Of a
    unigram model there is the SentencePiece file alone, under a name that `AutoTokenizer` does not look for: it would
    read it as BPE.
    """
    if isinstance(tokenizer, Byte):
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS, "eos_token": BOS}
        return {"tokenizer.json": _json(byte_tokenizer()), CONFIG: _json(config)}
    if not (isinstance(tokenizer, SentencePiece) and isinstance(spec, SentencePieceSpec)):
        return {}
    if spec.kind != "bpe":
        return {MODEL: tokenizer.serialized()}
    config = {"tokenizer_class": "LlamaTokenizer", "bos_token": BOS, "eos_token": BOS, "unk_token": "<unk>"}
    config |= {"add_bos_token": True, "add_eos_token": False, "add_prefix_space": False, "legacy": False}
    return {"tokenizer.model": tokenizer.serialized(), CONFIG: _json(config)}


def byte_tokenizer() -> dict[str, Any]:
    """`tokenizer.json` of the `tokenizers` library for `tokenizer=byte`: byte-level BPE that never merges."""
    bos = {"SpecialToken": {"id": BOS, "type_id": 0}}
    first = {"Sequence": {"id": "A", "type_id": 0}}
    second = {"Sequence": {"id": "B", "type_id": 0}}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {
        "version": "1.0",
        "added_tokens": [{"id": BYTES, "content": BOS, "special": True, **plain}],
        "pre_tokenizer": level,
        "decoder": level,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [bos, first],
            "pair": [bos, first, second],
            "special_tokens": {BOS: {"id": BOS, "ids": [BYTES], "tokens": [BOS]}},
        },
        "model": {
            "type": "BPE",
            "vocab": {character: byte for byte, character in enumerate(byte_characters())},
            "merges": [],
        },
    }


def byte_characters() -> list[str]:
    """The visible character that stands for each byte in byte-level BPE (GPT-2): itself where it is printable, else
    the next one from U+0100 on."""
    characters = [chr(byte) if byte in PRINTABLE else "" for byte in range(BYTES)]
    hidden = [byte for byte, character in enumerate(characters) if not character]
    for place, byte in enumerate(hidden):
        characters[byte] = chr(BYTES + place)
    return characters


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
