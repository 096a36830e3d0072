// SPDX-License-Identifier: Apache-2.0
// Sum of two fp32 numbers, combinational, rounded to nearest, ties to even.
//
// Subnormal operands and results count in full; what rounds past the largest number is an infinity. NaN for a NaN
// operand and for infinities of different sign, always 32'h7fc00000. Numbers that cancel give +0; -0 only comes from
// -0 plus -0. It has no other rounding mode and no flags.
`default_nettype none

module fp32_add (
    input  wire [31:0] a_i,
    input  wire [31:0] b_i,
    output wire [31:0] sum_o
);
  wire inf_a = a_i[30:0] == 31'h7f800000, inf_b = b_i[30:0] == 31'h7f800000;
  wire nan_a = a_i[30:0] > 31'h7f800000, nan_b = b_i[30:0] > 31'h7f800000;
  wire subtract = a_i[31] ^ b_i[31];
  wire nan = nan_a | nan_b | (inf_a & inf_b & subtract);

  // The larger magnitude first; a subnormal has the exponent of the least normal number.
  wire swap = b_i[30:0] > a_i[30:0];
  wire [31:0] big = swap ? b_i : a_i;
  wire [30:0] little = swap ? a_i[30:0] : b_i[30:0];
  wire [7:0] exponent_big = |big[30:23] ? big[30:23] : 8'd1;
  wire [7:0] exponent_little = |little[30:23] ? little[30:23] : 8'd1;
  wire [7:0] distance = exponent_big - exponent_little;

  // Significands with guard, round and sticky bits below.
  wire [26:0] top = {|big[30:23], big[22:0], 3'd0};
  wire [26:0] low = {|little[30:23], little[22:0], 3'd0};
  wire [26:0] shifted = low >> distance;
  wire sticky = (shifted << distance) != low;
  wire [26:0] aligned = {shifted[26:1], shifted[0] | sticky};
  wire [27:0] raw = subtract ? {1'b0, top} - {1'b0, aligned} : {1'b0, top} + {1'b0, aligned};

  // The highest bit is never bit 0 or 1: numbers whose exponents differ by two or more cancel one place at most.
  logic [4:0] leading_zeros;
  logic [7:0] back;
  logic [26:0] normal;
  logic [8:0] exponent;
  always_comb begin
    leading_zeros = 5'd27;
    for (int i = 2; i < 27; i++) if (raw[i]) leading_zeros = 5'(26 - i);
    back = {3'd0, leading_zeros} < exponent_big ? {3'd0, leading_zeros} : exponent_big - 8'd1;
    if (raw[27]) begin
      normal   = {raw[27:2], raw[1] | raw[0]};
      exponent = {1'b0, exponent_big} + 9'd1;
    end else begin
      normal   = raw[26:0] << back;
      exponent = normal[26] ? {1'b0, exponent_big} - {1'b0, back} : 9'd0;
    end
  end

  // Rounding up carries into the exponent, to infinity where it must.
  wire up = normal[2] & (normal[1] | normal[0] | normal[3]);
  wire [30:0] rounded = {exponent[7:0], normal[25:3]} + {30'd0, up};
  wire infinite = inf_a | inf_b | exponent >= 9'd255;
  wire zero_sign = a_i[31] & b_i[31];

  assign sum_o = nan ? 32'h7fc00000 : infinite ? {big[31], 8'hff, 23'd0} :
      raw == '0 ? {zero_sign, 31'd0} : {big[31], rounded};

`ifdef PROVE_CANCELLATION
  always_comb assert (raw[27:2] != '0 || raw == '0);
`endif
endmodule

`default_nettype wire
