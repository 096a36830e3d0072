# SPDX-License-Identifier: Apache-2.0
"""Serving: queueing laws, exact oracles, and what must hold of every run."""

from __future__ import annotations

import csv
import gzip
import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simsparse as ss
from simsparse._serve import requests_of, serve_spec
from simsparse.config.layout import Layout
from simsparse.config.serving import load_serving
from simsparse.errors import SimulationError, SpecError
from simsparse.policies.batching import BATCHINGS, batching_of
from simsparse.serving import replica
from simsparse.serving.costs import grid_around
from simsparse.serving.disaggregated import Disaggregation
from simsparse.serving.engine import Engine
from simsparse.serving.kv import PrefixCache
from simsparse.serving.models import model_of
from simsparse.serving.speculation import Speculation
from simsparse.sources.arrivals import ARRIVALS, arrivals_of
from simsparse.sources.lengths import lengths_of
from simsparse.sources.request_files import read_requests
from simsparse.sources.requests import Requests

DATA = Path(__file__).parents[1] / "validation/data/serving"
SYSTEM, MODEL = "systems/h200-pcie5", "llama2-7b"
BARE = Engine()


def served(requests, policy="chunked", **options):
    return ss.serve(requests, SYSTEM, MODEL, policy, **{"engine": BARE, **options})


def drawn(count=200, rate=8.0, seed=0, most=600):
    return ss.draw_requests(
        count, {"kind": "poisson", "rate": rate}, {"kind": "uniform", "least": 16, "most": most},
        {"kind": "uniform", "least": 1, "most": 200}, seed,
    )  # fmt: skip


# Oracles that others computed.


@pytest.fixture(scope="module")
def conversation():
    """The Mooncake conversation trace (FAST 2025, Apache-2.0), ids of blocks renumbered and packed in runs."""
    return read_requests(DATA / "trace_mooncake_conversation.jsonl.gz")


def test_public_trace_is_read_whole(conversation):
    assert len(conversation) == 12031
    blocks = [-(-int(tokens) // 512) for tokens in conversation.input_tokens]
    assert blocks == [len(ids) for ids in conversation.prefix]


@pytest.mark.parametrize("capacity", [100, 300, 1000, 3000, 10000, 30000, 100000, None])
def test_hit_ratios_of_least_recently_used_blocks(conversation, capacity):
    with (DATA / "trace_mooncake_conversation_lru_oracle.csv").open() as file:
        oracle = {row["capacity_blocks_512tok"]: float(row["prefix_hit_ratio"]) for row in csv.DictReader(file)}
    cache = PrefixCache(capacity)
    for ids in conversation.prefix:
        cache.hold(ids)
        cache.release(ids)
    assert round(cache.hit_ratio, 5) == oracle["inf" if capacity is None else str(capacity)]
    assert capacity is None or len(cache) <= capacity


# Laws of queues.


def test_single_server_waits_as_the_queue_of_fixed_service_does():
    """Of an M/D/1 queue, the mean wait is rho D / (2 (1 - rho)): Pollaczek and Khinchine."""
    one = served(Requests.of([0.0], [256], [1]), {"kind": "whole_batches", "max_seqs": 1})
    service, rho = one.e2e.mean, 0.4
    requests = ss.draw_requests(8_000, {"kind": "poisson", "rate": rho / service}, 256, 1, seed=3)
    found = served(requests, {"kind": "whole_batches", "max_seqs": 1})
    assert found.ttft.mean - service == pytest.approx(rho * service / (2 * (1 - rho)), rel=0.08)
    assert not found.saturation.saturated


@pytest.mark.parametrize("policy", sorted(BATCHINGS))
def test_requests_in_the_system_are_rate_times_latency(policy):
    """Little's law: the time average of requests in the system is their rate times their mean latency."""
    found = served(drawn(rate=20.0), policy)
    times = np.concatenate([found.arrived_s, found.done_s])
    change = np.concatenate([np.ones(200), -np.ones(200)])
    order = np.argsort(times)
    inside = np.cumsum(change[order])[:-1]
    area = float((inside * np.diff(times[order])).sum())
    assert area / found.span_s == pytest.approx(200 / found.span_s * found.e2e.mean)


def test_closed_loop_has_as_many_requests_as_it_says():
    requests = ss.draw_requests(60, {"kind": "closed", "concurrency": 7}, 100, 50)
    found = served(requests)
    inside = [int(((found.arrived_s <= time) & (found.done_s > time)).sum()) for time in found.arrived_s]
    assert set(inside[:-7]) == {7}
    assert not found.saturation.saturated


def test_beyond_capacity_is_said_and_not_a_latency():
    below, beyond = (served(drawn(400, rate), {"kind": "chunked", "max_seqs": 8}) for rate in (1.0, 200.0))
    assert not below.saturation.saturated
    saturation = beyond.saturation
    assert saturation.saturated
    assert saturation.growth_per_s == pytest.approx(saturation.offered_per_s - saturation.capacity_per_s, rel=0.1)


# What holds of every run.


@given(seed=st.integers(0, 10**6), policy=st.sampled_from(sorted(BATCHINGS)), seqs=st.sampled_from([1, 3, 64]),
       tokens=st.sampled_from([64, 700, 4096]), blocks=st.sampled_from([None, 64, 400]))  # fmt: skip
@settings(max_examples=8, deadline=None)
def test_every_request_ends_in_order_within_memory(seed, policy, seqs, tokens, blocks):
    requests = drawn(20, 30.0, seed)
    kv = {"block": 16, "blocks": blocks}
    found = served(requests, {"kind": policy, "max_seqs": seqs, "tokens": tokens}, kv=kv)
    assert np.all(found.arrived_s <= found.admitted_s)
    assert np.all(found.admitted_s < found.first_s)
    assert np.all(found.first_s <= found.done_s)
    runs = found.logs[0].runs
    assert all(before.end_s <= after.start_s + 1e-12 for before, after in itertools.pairwise(runs))
    assert max(run.decoding for run in runs) <= seqs
    written = sum(run.steps * run.decoding for run in runs) + len(requests)
    assert written == requests.output_tokens.sum() - found.preemptions  # reading anew gives a token too
    if blocks is not None:
        assert max(run.cached_tokens for run in runs) <= blocks * 16


@pytest.mark.parametrize("policy", sorted(BATCHINGS))
@pytest.mark.parametrize("blocks", [None, 100])
def test_steps_taken_together_are_steps_taken_one_by_one(policy, blocks, monkeypatch):
    kv = {"blocks": blocks}
    together = served(drawn(60, 20.0), policy, kv=kv)
    monkeypatch.setattr(replica, "LONGEST_RUN", 1)
    alone = served(drawn(60, 20.0), policy, kv=kv)
    np.testing.assert_allclose(together.done_s, alone.done_s, rtol=2e-3)
    np.testing.assert_allclose(together.ttft.mean, alone.ttft.mean, rtol=2e-2)
    assert len(alone.logs[0].runs) > 2 * len(together.logs[0].runs)


def test_energy_is_that_of_steps_and_of_rest():
    found = served(drawn())
    assert found.energy_j == pytest.approx(
        sum(run.joules for run in found.logs[0].runs) + found.static_watts * found.span_s
    )
    assert found.joules_per_token * found.requests.output_tokens.sum() == pytest.approx(found.energy_j)


def test_a_step_by_itself_costs_what_simulate_says():
    """One decode step of the shipped trace, through the tables and through the simulator."""
    trace = ss.load_trace("traces/llama2-7b-decode-b1.trace")
    tokens = trace.meta["kv_len"]
    found = served(Requests.of([0.0], [tokens], [2]))
    simulated = ss.simulate(trace, SYSTEM, level=0, keep="summary")
    assert found.tpot.mean == pytest.approx(simulated.latency_s, rel=0.01)


def test_interpolated_steps_are_near_exact_ones():
    assert served(drawn(300, 30.0)).error_estimate < 0.05


def test_swapped_caches_are_not_read_again():
    requests = drawn(60, 30.0)
    anew, swapped = (served(requests, kv={"blocks": 100, "swap": swap}) for swap in (False, True))
    assert swapped.preemptions > 0
    read = [sum(run.read_tokens for run in found.logs[0].runs) for found in (anew, swapped)]
    assert read[1] == requests.input_tokens.sum() < read[0]
    written = sum(run.steps * run.decoding for run in swapped.logs[0].runs) + 60
    assert written == requests.output_tokens.sum()


def test_caches_need_a_host_to_go_to():
    with pytest.raises(SpecError, match="no host"):
        ss.serve(drawn(60, 30.0), "gpu/h200-sxm5-141gb", MODEL, engine=BARE, kv={"blocks": 100, "swap": True})


def test_shared_prefixes_are_read_once():
    base = {"arrivals": {"kind": "poisson", "rate": 2}, "input": 2000, "output": 20}
    requests = ss.draw_requests(50, **base, shared_prefix=1600)
    without, shared = (served(requests, kv={"prefix_cache": cached}) for cached in (False, True))
    assert shared.prefix_hit_ratio == pytest.approx(49 / 50)
    assert shared.ttft.p50 < 0.5 * without.ttft.p50


def test_priorities_go_first():
    requests = drawn(300, 60.0)
    ranks = np.arange(300) % 2
    requests = replace(requests, priority=ranks)
    found = served(requests, {"kind": "chunked", "max_seqs": 16, "priorities": True})
    assert found.queue.values[ranks == 0].mean() < 0.5 * found.queue.values[ranks == 1].mean()


@pytest.mark.parametrize("router", ["round_robin", "least_loaded", "cache_aware"])
def test_replicas_share_the_requests(router):
    requests = drawn(120, 60.0)
    one, four = (served(requests, {"kind": "chunked", "max_seqs": 8}, replicas=n, router=router) for n in (1, 4))
    assert set(four.replica_of) == {0, 1, 2, 3}
    assert four.e2e.mean < one.e2e.mean
    assert four.devices == 4 * one.devices


def test_a_request_that_never_fits_is_an_error():
    with pytest.raises(SimulationError, match="blocks"):
        served(Requests.of([0.0], [4000], [10]), kv={"blocks": 100})


# Requests.


@pytest.mark.parametrize("options", [
    {"kind": "poisson", "rate": 5.0}, {"kind": "gamma", "rate": 5.0, "cv": 2.0}, {"kind": "even", "rate": 5.0},
    {"kind": "bursts", "rate": 5.0, "factor": 8.0, "period": 4.0, "on": 0.2},
])  # fmt: skip
def test_arrivals_have_their_rate(options):
    times = arrivals_of(options).times(40_000, np.random.default_rng(0))
    assert np.all(np.diff(times) >= 0)
    assert len(times) / times[-1] == pytest.approx(5.0, rel=0.03)


def test_every_process_of_arrivals_is_tried():
    assert set(ARRIVALS) == {"poisson", "gamma", "even", "bursts", "closed"}


def test_bursts_come_in_bursts():
    times = arrivals_of({"kind": "bursts", "rate": 5.0, "factor": 8.0, "period": 4.0, "on": 0.2}).times(
        40_000, np.random.default_rng(0)
    )
    inside = float(np.mean(times % 4.0 < 0.8))
    assert inside == pytest.approx(8 * 0.2 / (8 * 0.2 + 0.8), rel=0.02)


def test_gamma_gaps_vary_as_stated():
    gaps = np.diff(arrivals_of({"kind": "gamma", "rate": 5.0, "cv": 2.0}).times(80_000, np.random.default_rng(0)))
    assert gaps.std() / gaps.mean() == pytest.approx(2.0, rel=0.03)


@pytest.mark.parametrize(("options", "mean"), [
    (70, 70), ({"kind": "uniform", "least": 10, "most": 30}, 20), ({"kind": "exponential", "mean": 300.0}, 300),
    ({"kind": "lognormal", "mean": 300.0, "sigma": 0.7}, 300),
])  # fmt: skip
def test_lengths_have_their_mean(options, mean):
    assert lengths_of(options).draw(40_000, np.random.default_rng(0)).mean() == pytest.approx(mean, rel=0.03)


def test_rate_leaves_lengths_as_they_are():
    slow, fast = drawn(rate=1.0), drawn(rate=10.0)
    assert np.array_equal(slow.input_tokens, fast.input_tokens)
    assert np.allclose(slow.arrival_s, 10 * fast.arrival_s)


def test_azure_tables_are_read(tmp_path):
    path = tmp_path / "azure.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n"
                   "2023-11-16 18:15:50.9951690,396,109\n")  # fmt: skip
    found = read_requests(path)
    assert found.arrival_s.tolist() == pytest.approx([0, 4.314579])
    assert found.input_tokens.tolist() == [374, 396]
    assert found.output_tokens.tolist() == [44, 109]


@pytest.mark.parametrize(("text", "message"), [
    ("a,b\n1,2\n", "no column of time"), ("t,input,output\n0,x,3\n", "no request"), ("t,input,output\n", "no requests"),
])  # fmt: skip
def test_damaged_tables_are_errors_that_name_the_file(tmp_path, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(SpecError, match=message) as error:
        read_requests(path)
    assert error.value.file == str(path)


@pytest.mark.parametrize(("change", "message"), [
    ({"arrival_s": [0.0, math.inf]}, "finite"), ({"input_tokens": [1]}, "values of 2"),
    ({"output_tokens": [0, 4]}, "expected 1"),
])  # fmt: skip
def test_requests_are_checked(change, message):
    given = {"arrival_s": [0.0, 1.0], "input_tokens": [5, 5], "output_tokens": [5, 5], **change}
    with pytest.raises(SpecError, match=message):
        Requests.of(**given)


# Several GPUs.


def test_ranks_share_weights_and_exchange():
    requests = drawn(60, 10.0)
    one, two = (ss.serve(requests, "systems/h100-x8-nvlink", "llama3-8b", engine=BARE, parallel=each)
                for each in ("", "tp=2"))  # fmt: skip
    assert 0.5 < two.tpot.mean / one.tpot.mean < 1
    assert two.devices == 2
    assert two.kv_blocks > one.kv_blocks
    assert two.energy_j > one.energy_j


def test_a_rank_by_itself_costs_what_simulate_says():
    trace = ss.load_trace("traces/llama3-8b-decode-b1.trace")
    found = ss.serve(Requests.of([0.0], [trace.meta["kv_len"]], [2]), "systems/h100-x8-nvlink", trace, engine=BARE,
                     parallel="tp=4")  # fmt: skip
    simulated = ss.simulate(trace, "systems/h100-x8-nvlink", level=0, keep="summary", parallel="tp=4")
    assert found.tpot.mean == pytest.approx(simulated.latency_s, rel=0.02)


def test_pipelines_are_refused():
    with pytest.raises(SpecError, match="tp and ep"):
        ss.serve(drawn(5), "systems/h100-x8-nvlink", "llama3-8b", engine=BARE, parallel="pp=2")


def test_narrower_weights_leave_more_room_and_take_less_time():
    wide, narrow = (served(drawn(60, 10.0), weights=each) for each in ("", "fp8"))
    assert narrow.kv_blocks > wide.kv_blocks
    assert narrow.tpot.mean < 0.75 * wide.tpot.mean


# Files and names.


def test_experiment_runs_at_another_rate():
    spec, document = load_serving("configs/serving/llama2-7b-h200.yaml")
    few = spec.model_copy(update={"requests": spec.requests.model_copy(update={"count": 40})})
    found = serve_spec(few, document, rate=2.0)
    assert len(found.requests) == 40
    assert requests_of(few, Path(), 2.0).rate_per_s == pytest.approx(2.0, rel=0.5)
    assert found.goodput({"ttft": 1e-9}) == 0
    assert found.goodput({"e2e": 1e9}) == pytest.approx(40 / found.span_s)


@pytest.mark.parametrize(("line", "message"), [
    ("policy: {kind: chunkd}", "chunked"), ("policy: {kind: chunked, seqs: 3}", "max_seqs"),
    ("requests: {count: 3, arrivals: poisson, input: 3, output: 4}", "needs rate"), ("model: llama", "llama"),
    ("engine: vlm", "not a serving engine"), ("replicas: 0", "greater than or equal to 1"), ("bogus: 1", "bogus"),
])  # fmt: skip
def test_faults_name_file_and_line(tmp_path, line, message):
    text = ["name: x", "model: llama2-7b", "system: systems/h200-pcie5",
            "requests: {count: 3, arrivals: {kind: poisson, rate: 1}, input: 3, output: 4}"]  # fmt: skip
    lines = [each for each in text if each.partition(":")[0] != line.partition(":")[0]]
    path = tmp_path / "x.yaml"
    path.write_text("\n".join([*lines, line]) + "\n")
    with pytest.raises(SpecError, match=message) as error:
        serve_spec(*load_serving(str(path)))
    assert error.value.file is not None


def test_options_of_rules_are_checked():
    with pytest.raises(SpecError, match="whole number"):
        batching_of({"kind": "chunked", "max_seqs": 0})


@given(st.floats(1, 1e7), st.sampled_from([8, 32]))
def test_grid_lies_around_every_number(value, points):
    low, high = grid_around(value, points)
    assert low <= value <= high
    assert high - low <= max(1, value / points * 2)


def test_model_counts_layers_once_and_weights_whole():
    model, _ = model_of(MODEL, ss.load_system(SYSTEM), Layout.parse(""))
    assert model.weight_bytes == pytest.approx(2 * 6_738_415_616, rel=1e-3)
    assert model.kv_bytes_per_token == 32 * 2 * 4096 * 2
    assert len(model.token_ops(16)) < 20


# Drafts, and prefill and decode apart.


@pytest.fixture(scope="module")
def curves():
    """Mean accepted lengths by curve and number of drafts (InferenceX, Apache-2.0)."""
    found = {}
    with (DATA / "spec_decode_acceptance.csv").open() as file:
        for row in csv.DictReader(file):
            key = (row["curve"], row["dataset"], row["mode"])
            found.setdefault(key, {})[int(row["num_speculative_tokens"])] = float(row["acceptance_length"])
    return found


def test_acceptance_by_position_gives_the_measured_lengths(curves):
    for known in curves.values():
        for drafts, length in known.items():
            found = Speculation.of({"lengths": {count: known[count] for count in known if count <= drafts}})
            assert found.drafts == drafts
            assert found.tokens_per_step == pytest.approx(length, rel=0.02)


def test_one_rate_overestimates_eight_drafts_in_every_curve(curves):
    both = {}
    for (curve, _, _), known in curves.items():
        if 1 in known and 8 in known:
            both.setdefault(curve, []).append((known[1], known[8]))
    assert len([each for pairs in both.values() for each in pairs]) >= 14
    for pairs in both.values():
        for one, eight in pairs:
            assert Speculation.of({"tokens": 8, "rate": one - 1}).tokens_per_step > 1.05 * eight


def test_steps_with_drafts_give_the_mean_length():
    drafts = Speculation.of({"accepted": [0.8, 0.5, 0.2]})
    tokens = np.full(2000, 400)
    steps = drafts.steps(tokens, np.random.default_rng(0))
    assert (tokens / steps).mean() == pytest.approx(drafts.tokens_per_step, rel=0.01)


def test_drafts_make_a_lone_sequence_faster_by_nearly_what_they_add():
    requests = Requests.of(np.arange(6) * 100.0, [500] * 6, [800] * 6)
    plain, drafted = (served(requests, speculation=each) for each in (None, {"accepted": [0.8, 0.6]}))
    assert plain.tpot.mean / drafted.tpot.mean == pytest.approx(2.4, rel=0.1)


@pytest.mark.parametrize(
    "options",
    [{"accepted": [0.5, 0.6]}, {"tokens": 2, "rate": "x"}, {"rate": 0.5}, {"accepted": []}, {"lengths": [0.5]}],
)
def test_impossible_acceptance_is_an_error(options):
    with pytest.raises(SpecError):
        Speculation.of(options)


def test_decode_apart_is_not_held_up_by_prompts():
    requests = drawn(150, 12.0, most=3000)
    split = {"prefill": 1, "decode": 1, "bytes_per_s": 150e9, "latency_s": 0.4e-3}
    together, apart = (
        served(requests, "prefill_first", replicas=2),
        served(requests, "prefill_first", disaggregated=split),
    )
    assert np.all(apart.first_s > apart.admitted_s)
    assert np.all(apart.done_s >= apart.first_s)
    assert apart.tpot.p99 < together.tpot.p99
    assert apart.devices == 2
    written = sum(run.steps * run.decoding for log in apart.logs for run in log.runs) + 150
    assert written == requests.output_tokens.sum()


def test_transfer_of_caches_is_near_the_measured_one():
    """Qwen3-8B between two nodes over 8 ports of 25 GB/s; constants from the shortest and the longest prompt."""
    with (DATA / "kv_transfer_mooncake.csv").open() as file:
        rows = [(int(row["prompt_tokens"]), float(row["transfer_ms"]) / 1e3) for row in csv.DictReader(file)
                if row["model"] == "Qwen3-8B"]  # fmt: skip
    split = Disaggregation.of({"prefill": 1, "decode": 1, "bytes_per_s": 154.6e9, "latency_s": 0.42e-3})
    errors = [split.sent_s(tokens, 36 * 2 * 8 * 128 * 2) / seconds - 1 for tokens, seconds in rows[1:-1]]
    assert max(map(abs, errors)) < 0.20
    assert float(np.mean(np.abs(errors))) < 0.12
