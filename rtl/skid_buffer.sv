// SPDX-License-Identifier: Apache-2.0
// Two-entry skid buffer: registers valid, data and ready, so that no path runs through it.
//
// A beat taken in cycle t is offered from cycle t + 1 on; one beat a cycle when nothing stalls. It has no bypass
// and no option that drops the output register.
`default_nettype none

module skid_buffer #(
    parameter int Width = 8
) (
    input  wire             clk_i,
    input  wire             rst_ni,
    input  wire             valid_i,
    output wire             ready_o,
    input  wire [Width-1:0] data_i,
    output wire             valid_o,
    input  wire             ready_i,
    output wire [Width-1:0] data_o
);
  logic valid_q, spare_valid_q;
  logic [Width-1:0] data_q, spare_q;
  wire take = valid_i & ready_o;
  wire held = valid_q & ~ready_i;

  assign ready_o = ~spare_valid_q;
  assign valid_o = valid_q;
  assign data_o  = data_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      valid_q       <= 1'b0;
      spare_valid_q <= 1'b0;
    end else begin
      valid_q       <= held | spare_valid_q | take;
      spare_valid_q <= held & (spare_valid_q | take);
    end
  end

  always_ff @(posedge clk_i) begin
    if (!held) data_q <= spare_valid_q ? spare_q : data_i;
    if (take) spare_q <= data_i;
  end

`ifdef PROVE_ORDER
  // The environment sends 0, 1, 2, ...; the order of what comes out is what was lost, doubled or swapped.
  reg started = 1'b0;
  reg [Width-1:0] sent_q, received_q;
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      sent_q     <= '0;
      received_q <= '0;
    end else begin
      if (take) sent_q <= sent_q + 1'b1;
      if (valid_o && ready_i) received_q <= received_q + 1'b1;
    end
  end
  wire [Width-1:0] load = sent_q - received_q;
  always_ff @(posedge clk_i) begin
    started <= 1'b1;
    assume (started || !rst_ni);
    assume (data_i == sent_q);
    if (started && rst_ni) begin
      assert (load == {{(Width - 1) {1'b0}}, valid_q} + {{(Width - 1) {1'b0}}, spare_valid_q});
      assert (valid_q || !spare_valid_q);
      if (valid_o) assert (data_o == received_q);
      if (spare_valid_q) assert (spare_q == received_q + 1'b1);
    end
  end
`endif
endmodule

`default_nettype wire
