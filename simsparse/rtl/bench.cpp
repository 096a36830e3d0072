// Drives one streaming block beat by beat and records the cycle of every handshake.
//
// stdin: seven 32-bit counts (beats, words in, words out, offers, accepts, outputs, cycles at most), then the input
// vectors, a byte for each entry of the two patterns. stdout: 64-bit counts (beats taken, outputs, cycles, faults), 16
// counts of handshake states, cycle of every beat taken, cycle of every output, then the output vectors.
#include <cstdint>
#include <cstdio>
#include <vector>

#include "Vbench.h"
#include "verilated.h"

namespace {

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

}  // namespace

int main(int argc, char** argv) {
    VerilatedContext context;
    context.randReset(2);  // registers without reset start at random
    context.commandArgs(argc, argv);
    Vbench top{&context};

    const auto counts = read<uint32_t>(7);
    const size_t beats = counts[0], words_in = counts[1], words_out = counts[2];
    const size_t outputs = counts[5], longest = counts[6];
    const auto stimulus = read<uint32_t>(beats * words_in);
    const auto offers = read<uint8_t>(counts[3]), accepts = read<uint8_t>(counts[4]);

    std::vector<uint64_t> taken, given, totals(4), states(16);
    std::vector<uint32_t> results, held(words_out);

    top.clk_i = 0;
    top.rst_ni = 0;
    top.valid_i = 0;
    top.ready_i = 0;
    for (int edge = 0; edge < 4; ++edge) {
        top.clk_i = edge & 1;
        top.eval();
    }
    top.clk_i = 0;
    top.rst_ni = 1;

    bool offering = false, waits = false;
    uint64_t cycle = 0, faults = 0;
    for (; cycle < longest && (taken.size() < beats || given.size() < outputs); ++cycle) {
        const size_t next = taken.size();
        offering = offering || (next < beats && offers[cycle % offers.size()]);
        top.valid_i = offering;
        top.ready_i = accepts[cycle % accepts.size()];
        for (size_t word = 0; word < words_in; ++word) {
            const uint32_t data = next < beats ? stimulus[next * words_in + word] : 0;
            top.data_i[word] = offering ? data : ~data;  // nothing may depend on data that is not valid
        }
        top.eval();
        const bool take = top.valid_i && top.ready_o, give = top.valid_o && top.ready_i;
        ++states[top.valid_i << 3 | top.ready_o << 2 | top.valid_o << 1 | top.ready_i];
        if (waits && !top.valid_o) ++faults;
        for (size_t word = 0; word < words_out; ++word) {
            if (waits && top.valid_o && held[word] != top.data_o[word]) ++faults;
            held[word] = top.data_o[word];
        }
        waits = top.valid_o && !top.ready_i;
        if (take) {
            taken.push_back(cycle);
            offering = false;
        }
        if (give) {
            given.push_back(cycle);
            results.insert(results.end(), held.begin(), held.end());
        }
        top.clk_i = 1;
        top.eval();
        top.clk_i = 0;
        top.eval();
    }
    totals = {taken.size(), given.size(), cycle, faults};
    write(totals);
    write(states);
    write(taken);
    write(given);
    write(results);
    top.final();
    return 0;
}
