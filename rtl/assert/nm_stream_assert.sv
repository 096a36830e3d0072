// SPDX-License-Identifier: Apache-2.0
// The rules of a ready/valid stream as assertions, to be bound to any port of the blocks.
//
// A beat that was offered stays, unchanged, until it is taken; valid and ready are known.
// Simulation (Verilator, Icarus) stops at a breach; with FORMAL they are assertions, or with Assumed = 1 assumptions
// about the source. Example:
//   bind skid_buffer nm_stream_assert #(.Width(Width)) u_out (
//     .clk_i, .rst_ni, .valid_i(valid_o), .ready_i(ready_i), .data_i(data_o));
`default_nettype none

module nm_stream_assert #(
    parameter int Width   = 8,
    parameter bit Assumed = 1'b0
) (
    input wire             clk_i,
    input wire             rst_ni,
    input wire             valid_i,
    input wire             ready_i,
    input wire [Width-1:0] data_i
);
  logic waits_q;
  logic [Width-1:0] data_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) waits_q <= 1'b0;
    else waits_q <= valid_i & ~ready_i;
  end

  always_ff @(posedge clk_i) data_q <= data_i;

  wire kept = ~waits_q | (valid_i & (data_i == data_q));

`ifdef FORMAL
  if (Assumed) begin : gen_assumed
    always_comb if (rst_ni) assume (kept);
  end else begin : gen_asserted
    always_comb if (rst_ni) assert (kept);
  end
`else
  wire unused_assumed = Assumed;
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
    end else begin
      if ($isunknown(valid_i) || $isunknown(ready_i)) $fatal(1, "%m: valid or ready is unknown");
      if (!kept) $fatal(1, "%m: a beat changed or went away before it was taken");
    end
  end
`endif
endmodule

`default_nettype wire
