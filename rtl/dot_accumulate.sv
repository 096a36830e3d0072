// SPDX-License-Identifier: Apache-2.0
// Sum of products: Lanes signed products a beat, accumulated until last_i.
//
// The part that nm_dot_pe and dense_pe share: what comes behind the choice of operands. The sum of products is exact;
// the accumulator wraps modulo 2**AccWidth. A result follows its last beat by two cycles, one beat a cycle when nothing
// stalls; beats that end no sum are never held up by a result that waits. It does not skip zeros, saturate, round, or
// start from a bias.
`default_nettype none

module dot_accumulate #(
    parameter int Lanes       = 2,
    parameter int DataWidth   = 8,
    parameter int AccWidth    = 32,
    parameter int WeightWidth = DataWidth
) (
    input  wire                         clk_i,
    input  wire                         rst_ni,
    input  wire                         valid_i,
    output wire                         ready_o,
    input  wire                         last_i,
    input  wire [  Lanes*DataWidth-1:0] activation_i,
    input  wire [Lanes*WeightWidth-1:0] weight_i,
    output wire                         valid_o,
    input  wire                         ready_i,
    output wire [         AccWidth-1:0] sum_o
);
  localparam int ProductWidth = DataWidth + WeightWidth;
  localparam int DotWidth = ProductWidth + $clog2(Lanes);

`ifndef __ICARUS__
  if (AccWidth < DotWidth) begin : gen_illegal_acc_width
    $fatal(1, "dot_accumulate: AccWidth must hold the sum of Lanes products");
  end
`endif

  // Sum of products.
  logic signed [DotWidth-1:0] dot;

  always_comb begin
    dot = '0;
    for (int j = 0; j < Lanes; j++) begin
      dot = dot + DotWidth'($signed(activation_i[j*DataWidth+:DataWidth])) *
          DotWidth'($signed(weight_i[j*WeightWidth+:WeightWidth]));
    end
  end

  wire dot_valid, dot_ready, dot_last;
  wire [DotWidth-1:0] dot_sum;

  stream_register #(
      .Width(DotWidth + 1)
  ) u_dot (
      .clk_i,
      .rst_ni,
      .valid_i,
      .ready_o,
      .data_i ({last_i, dot}),
      .valid_o(dot_valid),
      .ready_i(dot_ready),
      .data_o ({dot_last, dot_sum})
  );

  // Accumulation; a finished sum moves to a register of its own.
  logic valid_q;
  logic signed [AccWidth-1:0] partial_q, sum_q;
  wire signed [AccWidth-1:0] total = partial_q + AccWidth'($signed(dot_sum));
  wire take = dot_valid & dot_ready;

  assign dot_ready = ~dot_last | ~valid_q | ready_i;
  assign valid_o   = valid_q;
  assign sum_o     = sum_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      valid_q   <= 1'b0;
      partial_q <= '0;
    end else begin
      valid_q <= (take & dot_last) | (valid_q & ~ready_i);
      if (take) partial_q <= dot_last ? '0 : total;
    end
  end

  always_ff @(posedge clk_i) begin
    if (take && dot_last) sum_q <= total;
  end
endmodule

`default_nettype wire
