// SPDX-License-Identifier: Apache-2.0
// A processor that runs the C driver, and a DMA, round nm_gemm_axi on plain AXI.
//
// stdin, 32-bit: the job (tokens, k_folds, n_tiles, dense, serial, skip, kept, requantise, relu, zero point), time-out,
// seed of stalls (0: none), repetitions, activation beats that the first one lacks; for weights, activations, channels: beats, bytes a beat, then the bytes and,
// but for channels, a byte of tlast a beat. stdout: a line a result beat (tlast, tkeep and bytes in hexadecimal), then
// "result R cycles C" a repetition.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "Vnm_gemm_axi.h"
#include "covered.h"
#include "nm_gemm.h"
#include "verilated.h"

namespace {

Vnm_gemm_axi* top;
uint32_t seed;

uint32_t word() {
    uint32_t value;
    if (std::fread(&value, 4, 1, stdin) != 1) std::exit(2);
    return value;
}

std::vector<uint8_t> octets(size_t count) {
    std::vector<uint8_t> bytes(count);
    if (count && std::fread(bytes.data(), 1, count, stdin) != count) std::exit(2);
    return bytes;
}

bool moves() {
    if (!seed) return true;
    seed = seed * 1664525u + 1013904223u;
    return seed >> 30;
}

struct Source {
    size_t all = 0, beats = 0, width = 0, next = 0;
    std::vector<uint8_t> data, last;
    bool offered = false;

    void load(bool marked) {
        all = beats = word();
        width = word();
        data = octets(beats * width);
        if (marked) last = octets(beats);
    }
    template <typename T>
    void drive(T& port) {
        offered = offered || (next < beats && moves());
        auto* bytes = reinterpret_cast<uint8_t*>(&port);
        for (size_t i = 0; i < width; ++i) bytes[i] = offered ? data[next * width + i] : 0xa5;
    }
    void start() { beats = all, next = 0, offered = false; }
    void stop() { beats = next = 0, offered = false; }
    bool ends() const { return offered && !last.empty() && last[next]; }
    void took() {
        offered = false;
        ++next;
    }
};

Source weights, activations, channels;

// One cycle of everything, with the AXI4-Lite signals as they are. A beat that moved is seen before the clock edge.
void tick() {
    weights.drive(top->s_axis_weight_tdata_i);
    activations.drive(top->s_axis_activation_tdata_i);
    channels.drive(top->s_axis_channel_tdata_i);
    top->s_axis_weight_tvalid_i = weights.offered;
    top->s_axis_weight_tlast_i = weights.ends();
    top->s_axis_activation_tvalid_i = activations.offered;
    top->s_axis_activation_tlast_i = activations.ends();
    top->s_axis_channel_tvalid_i = channels.offered;
    top->m_axis_result_tready_i = moves();
    top->eval();
    if (weights.offered && top->s_axis_weight_tready_o) weights.took();
    if (activations.offered && top->s_axis_activation_tready_o) activations.took();
    if (channels.offered && top->s_axis_channel_tready_o) channels.took();
    if (top->m_axis_result_tvalid_o && top->m_axis_result_tready_i) {
        std::printf("%d %llx ", top->m_axis_result_tlast_o, (unsigned long long)top->m_axis_result_tkeep_o);
        const auto* bytes = reinterpret_cast<const uint8_t*>(&top->m_axis_result_tdata_o);
        for (size_t i = 0; i < RESULT_BYTES; ++i) std::printf("%02x", bytes[i]);
        std::printf("\n");
    }
    top->clk_i = 1;
    top->eval();
    top->clk_i = 0;
    top->eval();
}

uint32_t read_register(void*, uint32_t address) {
    top->s_axil_arvalid_i = 1;
    top->s_axil_araddr_i = address;
    for (bool taken = false; !taken;) {
        top->eval();
        taken = top->s_axil_arready_o;
        tick();
    }
    top->s_axil_arvalid_i = 0;
    while (seed && !moves()) tick();
    top->s_axil_rready_i = 1;
    for (;;) {
        top->eval();
        const bool there = top->s_axil_rvalid_o;
        const uint32_t value = top->s_axil_rdata_o;
        tick();
        if (there) {
            top->s_axil_rready_i = 0;
            return value;
        }
    }
}

void write_some(uint32_t address, uint32_t value, uint8_t lanes, uint8_t wanted) {
    top->s_axil_awvalid_i = top->s_axil_wvalid_i = 1;
    top->s_axil_awaddr_i = address;
    top->s_axil_wdata_i = value;
    top->s_axil_wstrb_i = lanes;
    for (bool taken = false; !taken;) {
        top->eval();
        taken = top->s_axil_awready_o && top->s_axil_wready_o;
        tick();
    }
    top->s_axil_awvalid_i = top->s_axil_wvalid_i = 0;
    while (seed && !moves()) tick();
    top->s_axil_bready_i = 1;
    for (bool there = false; !there;) {
        top->eval();
        there = top->s_axil_bvalid_o;
        if (there && top->s_axil_bresp_o != wanted) std::exit(3);
        tick();
    }
    top->s_axil_bready_i = 0;
}

void write_register(void*, uint32_t address, uint32_t value) { write_some(address, value, 0xf, 0); }

}  // namespace

int main() {
    Vnm_gemm_axi model;
    top = &model;
    nm_gemm_job job{};
    job.tokens = word();
    job.k_folds = word();
    job.n_tiles = word();
    job.dense = word();
    job.serial = word();
    job.skip = word();
    job.kept = word();
    job.requantise = word();
    job.relu = word();
    job.zero_point = static_cast<int8_t>(word());
    const uint32_t timeout = word();
    seed = word();
    const uint32_t repetitions = word(), lost = word();
    weights.load(true);
    activations.load(true);
    channels.load(false);

    top->rst_ni = 1;
    top->eval();
    top->rst_ni = 0;
    top->eval();
    top->rst_ni = 1;
    const nm_gemm_bus bus{read_register, write_register, nullptr};
    nm_gemm_shape shape{};
    if (nm_gemm_probe(&bus, &shape) != NM_GEMM_OK) return 4;
    // Part of a word changes nothing, an address beyond the registers neither; both are answered.
    write_some(NM_GEMM_TOKENS, 7, 0x3, 2);
    write_some(0x40 + NM_GEMM_TOKENS, 7, 0xf, 0);
    if (read_register(nullptr, NM_GEMM_TOKENS) != 0 || read_register(nullptr, 0x40 + NM_GEMM_ID) != 0) return 5;
    for (const uint32_t held : {0xffffffffu, 0u, 0xa5a5a5a5u, 0x5a5a5a5au}) {
        write_register(nullptr, NM_GEMM_TIMEOUT, held);
        if (read_register(nullptr, NM_GEMM_TIMEOUT) != held) return 6;
    }
    nm_gemm_timeout(&bus, timeout);
    write_register(nullptr, NM_GEMM_INTERRUPT, NM_GEMM_INTERRUPT_DONE | NM_GEMM_INTERRUPT_ERROR);
    for (uint32_t run = 0; run < repetitions; ++run) {
        for (auto* source : {&weights, &activations, &channels}) source->start();
        if (run == 0) activations.beats -= lost;
        nm_gemm_result result = nm_gemm_start(&bus, &job);
        if (result == NM_GEMM_OK) {
            while (!top->irq_o) tick();
            result = nm_gemm_poll(&bus);
        }
        if (result == NM_GEMM_STANDSTILL) {  // The DMA is stopped with the engine.
            for (auto* source : {&weights, &activations, &channels}) source->stop();
        }
        for (int i = 0; i < 40; ++i) tick();
        std::printf("result %d cycles %u\n", result, nm_gemm_cycles(&bus));
    }
    model.final();
    write_coverage(*Verilated::defaultContextp());
    return 0;
}
