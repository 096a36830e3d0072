// SPDX-License-Identifier: Apache-2.0
// Requantisation: Lanes sums of AccWidth bits to OutWidth bits, with bias, scale, zero point and ReLU per beat.
//
//   q = clamp(round(float(sum + bias) * scale) + zero), at least zero where relu
// as PyTorch's quantised linear does it per channel: sum + bias wraps at 32 bits; its conversion to fp32, the product
// with the fp32 scale and the rounding to an integer each round to nearest, ties to even; out of range saturates.
// Numbers out are signed; for PyTorch's quint8 give zero_point - 128 and add 128. A scale below 2**-126 counts as
// zero, infinity and NaN as numbers beyond all others. A result follows its beat by four cycles, one beat a cycle when
// nothing stalls. It has no per-tensor mode (all lanes equal) and no other rounding.
`default_nettype none

module nm_requantise #(
    parameter int Lanes    = 4,
    parameter int AccWidth = 32,
    parameter int OutWidth = 8
) (
    input  wire                      clk_i,
    input  wire                      rst_ni,
    input  wire                      valid_i,
    output wire                      ready_o,
    input  wire                      last_i,
    input  wire [Lanes*AccWidth-1:0] sum_i,
    input  wire [      Lanes*32-1:0] bias_i,
    input  wire [      Lanes*32-1:0] scale_i,
    input  wire [      OutWidth-1:0] zero_i,
    input  wire                      relu_i,
    output wire                      valid_o,
    input  wire                      ready_i,
    output wire                      last_o,
    output wire [Lanes*OutWidth-1:0] value_o
);
`ifndef __ICARUS__
  if (Lanes < 1) begin : gen_illegal_lanes
    $fatal(1, "nm_requantise: Lanes must be at least 1");
  end
  if (AccWidth < 2 || AccWidth > 32) begin : gen_illegal_acc_width
    $fatal(1, "nm_requantise: AccWidth must be in 2..32");
  end
  if (OutWidth < 2 || OutWidth > 16) begin : gen_illegal_out_width
    $fatal(1, "nm_requantise: OutWidth must be in 2..16");
  end
`endif

  localparam int UserWidth = 2 + OutWidth;
  // A lane between the stages: {sign, exponent of bit 0 (signed), significand}, and first the scale behind it.
  localparam int FloatWidth = 1 + 6 + 24 + 31;
  localparam int ProductWidth = 1 + 10 + 48;
  localparam int RoundedWidth = 1 + 10 + 24;

  wire [UserWidth-1:0] user_float, user_product, user_rounded;
  wire valid_float, ready_float, valid_product, ready_product, valid_rounded, ready_rounded;
  wire [Lanes*FloatWidth-1:0] float_d, float_q;
  wire [Lanes*ProductWidth-1:0] product_d, product_q;
  wire [Lanes*RoundedWidth-1:0] rounded_d, rounded_q;
  wire [Lanes*OutWidth-1:0] value_d;

  // Rounds {kept, guard, sticky} to nearest even: what is added to the kept bits.
  function automatic up(input lowest, input guard, input sticky);
    up = guard & (sticky | lowest);
  endfunction

  for (genvar l = 0; l < Lanes; l++) begin : gen_lane
    // Sum and bias to fp32.
    wire  [31:0] total = 32'($signed(sum_i[l*AccWidth+:AccWidth])) + bias_i[l*32+:32];
    wire  [31:0] size = total[31] ? -total : total;
    logic [ 4:0] leading;
    logic [31:0] aligned;
    always_comb begin
      leading = 5'd0;
      for (int i = 1; i < 32; i++) if (size[i]) leading = 5'(i);
      aligned = size << (5'd31 - leading);
    end
    wire [24:0] exact = {1'b0, aligned[31:8]} + {24'd0, up(aligned[8], aligned[7], aligned[6:0] != '0)};
    wire [23:0] significand = exact[24] ? 24'h800000 : exact[23:0];
    wire [ 5:0] exponent = {1'b0, leading} - 6'd23 + {5'd0, exact[24]};
    assign float_d[l*FloatWidth+:FloatWidth] = {total[31] ^ scale_i[l*32+31], exponent, significand, scale_i[l*32+:31]};

    // Times the scale.
    wire [30:0] scale = float_q[l*FloatWidth+:31];
    wire [23:0] multiplicand = float_q[l*FloatWidth+31+:24];
    wire signed [5:0] weight = float_q[l*FloatWidth+55+:6];
    wire [23:0] multiplier = {scale[30:23] != '0, scale[22:0]} & {24{scale[30:23] != '0}};
    wire signed [9:0] product_exponent = 10'(weight) + $signed({2'b0, scale[30:23]}) - 10'sd150;
    wire [47:0] raw = {24'd0, multiplicand} * {24'd0, multiplier};
    assign product_d[l*ProductWidth+:ProductWidth] = {float_q[l*FloatWidth+61], product_exponent, raw};

    // Rounded to the 24 bits of fp32.
    wire [47:0] whole = product_q[l*ProductWidth+:48];
    wire signed [9:0] whole_exponent = product_q[l*ProductWidth+48+:10];
    wire [47:0] normal = whole[47] ? whole : {whole[46:0], 1'b0};
    wire [24:0] near = {1'b0, normal[47:24]} + {24'd0, up(normal[24], normal[23], normal[22:0] != '0)};
    wire [23:0] near_significand = near[24] ? 24'h800000 : near[23:0];
    wire [9:0] near_exponent = whole_exponent + 10'sd23 + {9'd0, whole[47]} + {9'd0, near[24]};
    assign rounded_d[l*RoundedWidth+:RoundedWidth] = {product_q[l*ProductWidth+58], near_exponent, near_significand};

    // Rounded to an integer, moved by the zero point and clamped.
    wire [23:0] digits = rounded_q[l*RoundedWidth+:24];
    wire signed [9:0] place = rounded_q[l*RoundedWidth+24+:10];
    wire negative = rounded_q[l*RoundedWidth+34];
    wire [4:0] right = place < -10'sd25 ? 5'd25 : 5'(-place);
    wire [49:0] shifted = {1'b0, digits, 25'd0} >> right;
    wire [24:0] kept = shifted[49:25];
    wire [24:0] integral = kept + {24'd0, up(kept[0], shifted[24], shifted[23:0] != '0)};
    wire beyond = (place >= 10'sd0 && digits != '0) || integral[24:OutWidth+1] != '0;
    wire signed [OutWidth+2:0] moved = (negative ? -$signed(
        {2'b0, integral[OutWidth:0]}
    ) : $signed(
        {2'b0, integral[OutWidth:0]}
    )) + (OutWidth + 3)'(zero);
    logic signed [OutWidth-1:0] clamped;
    always_comb begin
      if (beyond) clamped = {negative, {OutWidth - 1{~negative}}};
      else if (moved[OutWidth+2:OutWidth-1] != {4{moved[OutWidth+2]}})
        clamped = {moved[OutWidth+2], {OutWidth - 1{~moved[OutWidth+2]}}};
      else clamped = moved[OutWidth-1:0];
    end
    assign value_d[l*OutWidth+:OutWidth] = relu && clamped < zero ? zero : clamped;
  end

  wire last;
  wire relu = user_rounded[OutWidth];
  wire signed [OutWidth-1:0] zero = user_rounded[OutWidth-1:0];
  assign last = user_rounded[OutWidth+1];

  stream_register #(
      .Width(Lanes * FloatWidth + UserWidth)
  ) u_float (
      .clk_i,
      .rst_ni,
      .valid_i,
      .ready_o,
      .data_i ({last_i, relu_i, zero_i, float_d}),
      .valid_o(valid_float),
      .ready_i(ready_float),
      .data_o ({user_float, float_q})
  );

  stream_register #(
      .Width(Lanes * ProductWidth + UserWidth)
  ) u_product (
      .clk_i,
      .rst_ni,
      .valid_i(valid_float),
      .ready_o(ready_float),
      .data_i ({user_float, product_d}),
      .valid_o(valid_product),
      .ready_i(ready_product),
      .data_o ({user_product, product_q})
  );

  stream_register #(
      .Width(Lanes * RoundedWidth + UserWidth)
  ) u_rounded (
      .clk_i,
      .rst_ni,
      .valid_i(valid_product),
      .ready_o(ready_product),
      .data_i ({user_product, rounded_d}),
      .valid_o(valid_rounded),
      .ready_i(ready_rounded),
      .data_o ({user_rounded, rounded_q})
  );

  stream_register #(
      .Width(Lanes * OutWidth + 1)
  ) u_value (
      .clk_i,
      .rst_ni,
      .valid_i(valid_rounded),
      .ready_o(ready_rounded),
      .data_i ({last, value_d}),
      .valid_o,
      .ready_i,
      .data_o ({last_o, value_o})
  );
endmodule

`default_nettype wire
