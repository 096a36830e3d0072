# SPDX-License-Identifier: Apache-2.0
"""Joules per token of a serving table: kernels, rest between steps, prompts."""

from __future__ import annotations

import pytest

from simsparse.config.hardware import load_hardware
from simsparse.validate import validate_file

pytest.importorskip("torch")
pytest.importorskip("transformers")

H100 = "gpu/h100-sxm5-80gb"
HEADER = ("model_id,weight_precision,gpu_model,num_gpus,avg_batch_size,avg_output_len,energy_per_token_joules,"
          "median_itl_ms")  # fmt: skip
ROW = "Qwen/Qwen3-8B,bfloat16,H100,1,16,1000,0.5"


def section(tmp_path, *lines):
    path = tmp_path / "tokens.csv"
    path.write_text("\n".join(lines) + "\n")
    return validate_file(path, H100).section("energy_tokens")


def test_a_slower_pace_costs_the_power_at_rest(tmp_path):
    found = section(tmp_path, HEADER, f"{ROW},10", f"{ROW},14").predictions
    fast, slow = (each.predicted for each in found)
    assert slow - fast == pytest.approx(load_hardware(H100).power.static.si * 4e-3 / 16, rel=1e-6)


def test_what_steps_leave_of_the_run_draws_the_power_of_prompts(tmp_path):
    header = f"{HEADER},output_throughput_tokens_per_sec"
    found = section(tmp_path, header, f"{ROW},10,1600", f"{ROW},10,1000").predictions
    steps, both = (each.predicted for each in found)
    watts = (both - steps) * 16 / 6e-3
    part = load_hardware(H100)
    assert part.power.static.si < watts <= 1.05 * part.power.limit.si


def test_rows_that_the_table_does_not_describe_are_skipped_with_a_reason(tmp_path):
    other = ROW.replace("Qwen3-8B", "Qwen3-VL-8B-Instruct")
    found = section(tmp_path, HEADER, f"{other},10", f"{ROW.replace(',1,16', ',2,16')},10")
    assert set(found.skipped) == {"no shapes of Qwen/Qwen3-VL-8B-Instruct", "several GPUs"}
