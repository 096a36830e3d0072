# SPDX-License-Identifier: Apache-2.0
"""Serving on machines of several devices, and tables of measured serving."""

from __future__ import annotations

import pytest

import simsparse as ss
from simsparse.config.layout import Layout
from simsparse.errors import SpecError
from simsparse.lowering.machine import machine_of
from simsparse.lowering.stacks import stack_of
from simsparse.policies.batching import batching_of
from simsparse.serving.build import Build, CacheOptions
from simsparse.serving.costs import StepShape
from simsparse.serving.engine import Engine
from simsparse.serving.models import model_of
from simsparse.serving.simulated import SimulatedCosts, WholeModel
from simsparse.validate import validate_file

HEADER = "model_path,system,mode,isl,osl,gemm_quant_mode,tp_size,concurrency,silicon_tpot_ms,silicon_ttft_ms"


def closed(count=16, concurrency=8):
    return ss.draw_requests(count, {"kind": "closed", "concurrency": concurrency}, 512, 32)


def served(system, model="llama2-7b", **options):
    return ss.serve(closed(), system, model, "prefill_first", engine=Engine(), **options)


@pytest.mark.parametrize("shape", [
    StepShape((), 8, 700.0, 8), StepShape((), 40, 300.0, 40), StepShape(((512, 0),), 0, 0.0, 1),
    StepShape(((512, 0), (512, 0)), 0, 0.0, 2), StepShape(((480, 512),), 32, 600.0, 33),
])  # fmt: skip
def test_whole_steps_agree_with_sums_of_operators(shape):
    """On one GPU, where a step is the sum of its operators, both ways give the same seconds and joules."""
    system = ss.load_system("systems/h200-pcie5")
    model, _ = model_of("llama2-7b", system, Layout.parse(""))
    build = Build(machine_of(system), model, batching_of("chunked"), Engine(), stack_of("fused+graph"), CacheOptions())
    summed = build.costs.of(shape)
    whole = SimulatedCosts(model, WholeModel(machine_of(system), stack_of("fused+graph"), "resident", 0)).of(shape)
    assert whole.seconds <= summed.seconds * 1.03
    assert whole.seconds >= (summed.seconds - summed.gain) * 0.97
    assert whole.joules == pytest.approx(summed.joules, rel=0.1)


def test_memory_that_computes_beside_a_gpu_decodes_faster():
    alone, beside = served("systems/h100-pcie5"), served("systems/h100-bank-pim")
    assert beside.tpot.mean < alone.tpot.mean
    assert any("simulated" in note for note in beside.notes)


def test_experts_in_host_memory_are_bound_by_the_link():
    found = served("systems/h100-pcie5", "mixtral-8x7b", residency="on_demand", kv={"blocks": 1000})
    experts = 32 * 3 * 4096 * 14336 * 2
    assert experts * 2 / 64e9 < found.tpot.mean < experts * 8 / 40e9
    assert found.kv_blocks == 1000


def test_an_unknown_residency_is_an_error():
    with pytest.raises(SpecError):
        served("systems/h100-pcie5", residency="nowhere")


def test_table_of_measured_serving_is_read(tmp_path):
    rows = ["meta-llama/Llama-3.1-8B-Instruct,h100_sxm,agg,256,64,,1,4,7.0,40", "x/y,h100_sxm,agg,256,64,,1,4,7.0,40",
            "meta-llama/Llama-3.1-8B-Instruct,h100_sxm,disagg,256,64,,1,4,7.0,40",
            "meta-llama/Llama-3.1-8B-Instruct,h200_sxm,agg,256,64,,1,4,7.0,40"]  # fmt: skip
    path = tmp_path / "table.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    found = validate_file(path, "systems/h100-x8-nvlink")
    for name in ("serving_table_tpot", "serving_table_ttft"):
        section = found.section(name)
        assert len(section.predictions) == 1
        assert len(section.skipped) == 3
    (tpot,) = found.section("serving_table_tpot").predictions
    assert tpot.predicted == pytest.approx(6.6e-3, rel=0.2)


def test_stages_of_measured_serving_are_read(tmp_path):
    names = ("model,gpu,tp,max_num_batched_tokens,max_num_seqs,stage,rate_req_s,duration_s,n_fail,n_system_prompts,"
             "users_per_prompt,prompt_len_mean,output,e2e_mean_ms,ttft_mean_ms")  # fmt: skip
    begin = "meta-llama/Llama-2-7b-hf,H100-SXM,1,2048,128"
    rows = [f"{begin},0,5.0,4,0,11,4,591.6,100,750,25", f"{begin},1,5.0,4,9,11,4,591.6,100,750,25",
            f"{begin},summary,,4,0,11,4,591.6,100,750,25"]  # fmt: skip
    path = tmp_path / "stages.csv"
    path.write_text("\n".join([names, *rows]) + "\n")
    found = validate_file(path, "systems/h100-x8-nvlink")
    section = found.section("serving_stages_e2e")
    assert len(section.predictions) == 1
    assert set(section.skipped) == {"past saturation: requests failed", "a summary of several stages"}
    assert section.predictions[0].predicted == pytest.approx(0.75, rel=0.15)


def test_stages_beside_other_simulators_are_read(tmp_path):
    names = ("exp_id,model,workload,gpu,stage_index,tp,precision,max_num_batched_tokens,max_num_seqs,system_prompt,"
             "question,output,n_system_prompts,users_per_prompt,rates,stage_s,e2e_mean_actual_ms,ttft_mean_actual_ms,"
             "itl_mean_actual_ms,e2e_mean_vidur_ms,e2e_mean_blis-roofline_ms")  # fmt: skip
    end = "1,FP16,2048,128,100,466,100,11,4,5.0/10.0,3/3,750,25,7.4"
    rows = [f"1,meta-llama/Llama-2-7b-hf,codegen,H100-SXM,0,{end},600,", f"1,x/y,codegen,H100-SXM,0,{end},600,",
            f"1,meta-llama/Llama-2-7b-hf,general,H100-SXM,0,{end},600,",
            f"1,meta-llama/Llama-2-7b-hf,codegen,H100-SXM,-1,{end},600,"]  # fmt: skip
    path = tmp_path / "stages.csv"
    path.write_text("\n".join([names, *rows]) + "\n")
    found = validate_file(path, "systems/h100-x8-nvlink")
    section = found.section("serving_others_e2e")
    assert len(section.predictions) == 1
    assert sum(section.skipped.values()) == 3
    assert section.predictions[0].predicted == pytest.approx(0.75, rel=0.15)
    assert section.facts == {"mean error of vidur": pytest.approx(0.2)}
    assert len(found.section("serving_others_itl").predictions) == 1
