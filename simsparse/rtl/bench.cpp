// SPDX-License-Identifier: Apache-2.0
// The bench of one block: all but Verilator's class is in driver.cpp.
#include "Vbench.h"
#include "covered.h"
#include "driver.h"

int main(int argc, char** argv) {
    VerilatedContext context;
    context.randReset(2);  // registers without reset start at random
    context.commandArgs(argc, argv);
    Vbench top{&context};
    const int code = drive({top.clk_i, top.rst_ni, top.valid_i, top.ready_o, top.valid_o, top.ready_i,
                            top.data_i.data(), top.data_o.data(), &top,
                            [](void* model) { static_cast<Vbench*>(model)->eval(); }});
    top.final();
    write_coverage(context);
    return code;
}
