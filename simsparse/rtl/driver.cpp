// SPDX-License-Identifier: Apache-2.0
// Drives the streams of one block beat by beat and records the cycle of every handshake, play after play: each begins
// with a reset, the first with beats that a reset cuts off, and ends when all came out or its cycles are over.
//
// stdin, 32-bit counts: plays. Then of each play, 32-bit counts: streams in, streams out, cycles at most; for each
// stream in: beats, words, entries of its pattern of offers; for each stream out: beats, words, entries of its pattern
// of readiness. Then for each stream in its vectors and, a byte an entry, its pattern; for each stream out its pattern.
// stdout, 64-bit, of each play: beats of each stream in and out, cycles, faults, 16 counts of handshake states of the
// first stream in with the first one out, 4 counts of each stream in and out, cycle of every beat in and out by stream.
// Then the vectors of each stream out.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "driver.h"

namespace {

using Words = std::vector<uint32_t>;

template <typename T>
std::vector<T> read(size_t count) {
    std::vector<T> data(count);
    if (count != 0 && std::fread(data.data(), sizeof(T), count, stdin) != count) std::exit(2);
    return data;
}

template <typename T>
void write(const std::vector<T>& data) {
    if (!data.empty() && std::fwrite(data.data(), sizeof(T), data.size(), stdout) != data.size()) std::exit(2);
}

struct Channel {
    size_t beats, words, base;    // of the whole stream, of a vector, where its vector starts
    std::vector<uint8_t> moves;   // pattern
    Words data;                   // what goes in, what came out
    std::vector<uint64_t> at;     // cycles of the handshakes
    std::vector<uint64_t> states = std::vector<uint64_t>(4);
    Words held;                   // what is offered
    bool active = false;          // offers (in) or waits for the sink (out)

    bool done() const { return at.size() >= beats; }
    bool moves_in(uint64_t cycle) const { return moves[cycle % moves.size()]; }
};

std::vector<Channel> headers(size_t count) {
    std::vector<Channel> channels(count);
    size_t base = 0;
    for (auto& channel : channels) {
        const auto counts = read<uint32_t>(3);
        channel.beats = counts[0];
        channel.words = counts[1];
        channel.base = base;
        channel.moves.resize(counts[2]);
        channel.held.resize(counts[1]);
        base += counts[1];
    }
    return channels;
}

bool any_left(const std::vector<Channel>& channels) {
    for (const auto& channel : channels)
        if (!channel.done()) return true;
    return false;
}

// Without a clock edge, so that nothing drains into what is reset.
void reset(const Design& top) {
    top.clk_i = 0;
    top.valid_i = 0;
    top.ready_i = 0;
    top.rst_ni = 1;
    top.eval();
    top.rst_ni = 0;
    top.eval();
    top.rst_ni = 1;
}

// Some cycles of beats that a reset cuts off: nothing of them may be left. Sources keep what they offer until it is taken.
void forget(const Design& top, const std::vector<Channel>& sources) {
    uint64_t state = 1;
    unsigned active = 0;
    for (int cycle = 0; cycle < 50; ++cycle) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        top.ready_i = 0;
        if (state >> 63) top.ready_i = ~top.ready_i;
        for (size_t i = 0; i < sources.size(); ++i) {
            const auto& source = sources[i];
            if (active >> i & 1) continue;
            active |= unsigned((state >> (40 + i)) & 1) << i;
            for (size_t word = 0; word < source.words; ++word)
                top.data_i[source.base + word] = source.beats ? source.data[(state >> 33) % source.data.size()] : 0;
        }
        top.valid_i = active;
        top.eval();
        const unsigned taken = active & top.ready_o;
        for (int level = 1; level >= 0; --level) {
            top.clk_i = level;
            top.eval();
        }
        active &= ~taken;
    }
    reset(top);
}

void play(const Design& top, bool first) {
    const auto counts = read<uint32_t>(3);
    auto sources = headers(counts[0]), sinks = headers(counts[1]);
    const size_t longest = counts[2];
    for (auto& source : sources) {
        source.data = read<uint32_t>(source.beats * source.words);
        source.moves = read<uint8_t>(source.moves.size());
    }
    for (auto& sink : sinks) sink.moves = read<uint8_t>(sink.moves.size());
    std::vector<uint64_t> states(16);

    reset(top);
    if (first) forget(top, sources);

    uint64_t cycle = 0, faults = 0;
    for (; cycle < longest && (any_left(sources) || any_left(sinks)); ++cycle) {
        unsigned valid = 0, ready = 0;
        for (size_t i = 0; i < sources.size(); ++i) {
            auto& source = sources[i];
            source.active = source.active || (!source.done() && source.moves_in(cycle));
            valid |= unsigned{source.active} << i;
            for (size_t word = 0; word < source.words; ++word) {
                const uint32_t data = source.done() ? 0 : source.data[source.at.size() * source.words + word];
                top.data_i[source.base + word] = source.active ? data : ~data;  // nothing may depend on it
            }
        }
        for (size_t i = 0; i < sinks.size(); ++i) ready |= unsigned{sinks[i].moves_in(cycle)} << i;
        top.valid_i = valid;
        top.ready_i = ready;
        top.eval();
        const unsigned ready_out = top.ready_o, valid_out = top.valid_o;
        ++states[(valid & 1) << 3 | (ready_out & 1) << 2 | (valid_out & 1) << 1 | (ready & 1)];
        for (size_t i = 0; i < sources.size(); ++i) {
            auto& source = sources[i];
            const bool take = source.active && (ready_out >> i & 1);
            ++source.states[(valid >> i & 1) << 1 | (ready_out >> i & 1)];
            if (!take) continue;
            source.at.push_back(cycle);
            source.active = false;
        }
        for (size_t i = 0; i < sinks.size(); ++i) {
            auto& sink = sinks[i];
            const bool offered = valid_out >> i & 1, accepts = ready >> i & 1;
            ++sink.states[unsigned{offered} << 1 | unsigned{accepts}];
            if (sink.active && !offered) ++faults;
            for (size_t word = 0; word < sink.words; ++word) {
                const uint32_t data = top.data_o[sink.base + word];
                if (sink.active && offered && sink.held[word] != data) ++faults;
                sink.held[word] = data;
            }
            sink.active = offered && !accepts;
            if (!(offered && accepts)) continue;
            sink.at.push_back(cycle);
            sink.data.insert(sink.data.end(), sink.held.begin(), sink.held.end());
        }
        top.clk_i = 1;
        top.eval();
        top.clk_i = 0;
        top.eval();
    }
    std::vector<uint64_t> totals;
    for (const auto& source : sources) totals.push_back(source.at.size());
    for (const auto& sink : sinks) totals.push_back(sink.at.size());
    totals.insert(totals.end(), {cycle, faults});
    write(totals);
    write(states);
    for (const auto& source : sources) write(source.states);
    for (const auto& sink : sinks) write(sink.states);
    for (const auto& source : sources) write(source.at);
    for (const auto& sink : sinks) write(sink.at);
    for (const auto& sink : sinks) write(sink.data);
}

}  // namespace

int drive(const Design& top) {
    const uint32_t plays = read<uint32_t>(1)[0];
    for (uint32_t place = 0; place < plays; ++place) play(top, place == 0);
    return 0;
}
