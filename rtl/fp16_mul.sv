// SPDX-License-Identifier: Apache-2.0
// Product of two fp16 numbers as fp32, combinational and exact: 22 significant bits and all exponents fit.
//
// Subnormal operands count in full. NaN for a NaN operand and for infinity times zero, always 32'h7fc00000; infinities
// and zeros keep the product's sign. There is no rounding, hence no mode and no flags.
`default_nettype none

module fp16_mul (
    input  wire [15:0] a_i,
    input  wire [15:0] b_i,
    output wire [31:0] product_o
);
  wire sign = a_i[15] ^ b_i[15];
  wire special_a = &a_i[14:10], special_b = &b_i[14:10];
  wire nan_a = special_a & (|a_i[9:0]), nan_b = special_b & (|b_i[9:0]);
  wire zero_a = ~(|a_i[14:0]), zero_b = ~(|b_i[14:0]);
  wire nan = nan_a | nan_b | (special_a & zero_b) | (special_b & zero_a);

  // Significands with their hidden bit; a subnormal has the exponent of the least normal number.
  wire [10:0] significand_a = {|a_i[14:10], a_i[9:0]};
  wire [10:0] significand_b = {|b_i[14:10], b_i[9:0]};
  wire [4:0] exponent_a = |a_i[14:10] ? a_i[14:10] : 5'd1;
  wire [4:0] exponent_b = |b_i[14:10] ? b_i[14:10] : 5'd1;
  wire [21:0] raw = {11'd0, significand_a} * {11'd0, significand_b};

  // Bit 0 of raw weighs 2**(exponent_a + exponent_b - 50).
  logic [4:0] leading;
  logic [23:0] aligned;
  always_comb begin
    leading = 5'd0;
    for (int i = 1; i < 22; i++) if (raw[i]) leading = 5'(i);
    aligned = {2'd0, raw} << (5'd23 - leading);
  end
  wire [7:0] exponent = {3'd0, exponent_a} + {3'd0, exponent_b} + {3'd0, leading} + 8'd77;

  assign product_o = nan ? 32'h7fc00000 : special_a | special_b ? {sign, 8'hff, 23'd0} :
      ~aligned[23] ? {sign, 31'd0} : {sign, exponent, aligned[22:0]};
endmodule

`default_nettype wire
