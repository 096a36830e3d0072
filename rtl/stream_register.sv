// SPDX-License-Identifier: Apache-2.0
// One pipeline register of a ready/valid stream.
//
// A beat taken in cycle t is offered from cycle t + 1 on; one beat a cycle when nothing stalls. ready_o follows
// ready_i combinationally. It does not cut the ready path (skid_buffer does) and holds one beat.
`default_nettype none

module stream_register #(
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
  logic valid_q;
  logic [Width-1:0] data_q;

  assign ready_o = ~valid_q | ready_i;
  assign valid_o = valid_q;
  assign data_o  = data_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) valid_q <= 1'b0;
    else if (ready_o) valid_q <= valid_i;
  end

  always_ff @(posedge clk_i) begin
    if (valid_i && ready_o) data_q <= data_i;
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
      if (valid_i && ready_o) sent_q <= sent_q + 1'b1;
      if (valid_o && ready_i) received_q <= received_q + 1'b1;
    end
  end
  always_ff @(posedge clk_i) begin
    started <= 1'b1;
    assume (started || !rst_ni);
    assume (data_i == sent_q);
    if (started && rst_ni) begin
      assert (sent_q == received_q + Width'(valid_q));
      if (valid_o) assert (data_o == received_q);
    end
  end
`endif
endmodule

`default_nettype wire
