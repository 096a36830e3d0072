// SPDX-License-Identifier: Apache-2.0
// Dense processing element: Lanes signed products a beat, accumulated until last_i.
//
// The baseline that nm_dot_pe is compared with: the same stages, widths and handshakes, without indexes and without
// the choice of operands. The sum of products is exact; the accumulator wraps modulo 2**AccWidth. A result follows its
// last beat by three cycles. It does not skip zeros, saturate, round, or start from a bias.
`default_nettype none

module dense_pe #(
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
  wire operand_valid, operand_ready, operand_last;
  wire [  Lanes*DataWidth-1:0] activation;
  wire [Lanes*WeightWidth-1:0] weight;

  stream_register #(
      .Width(Lanes * (DataWidth + WeightWidth) + 1)
  ) u_operand (
      .clk_i,
      .rst_ni,
      .valid_i,
      .ready_o,
      .data_i ({last_i, weight_i, activation_i}),
      .valid_o(operand_valid),
      .ready_i(operand_ready),
      .data_o ({operand_last, weight, activation})
  );

  dot_accumulate #(
      .Lanes(Lanes),
      .DataWidth(DataWidth),
      .AccWidth(AccWidth),
      .WeightWidth(WeightWidth)
  ) u_sum (
      .clk_i,
      .rst_ni,
      .valid_i(operand_valid),
      .ready_o(operand_ready),
      .last_i(operand_last),
      .activation_i(activation),
      .weight_i(weight),
      .valid_o,
      .ready_i,
      .sum_o
  );
endmodule

`default_nettype wire
