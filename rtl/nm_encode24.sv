// SPDX-License-Identifier: Apache-2.0
// 2:4 encoder: Groups of four to two values and a 4-bit metadata number each, registered.
//
// Metadata is what PyTorch's conversion makes: index of the first kept value in the low two bits, of the second in the
// high two. Groups of 8 fill PyTorch's 32-bit word for int8, Groups of 4 the 16-bit word. A group with fewer than two
// non-zeros keeps zeros as PyTorch chooses them; one with more keeps two of them and raises error_o with the beat.
// Floating numbers (Floating = 1: fp8, fp16, bf16, fp32) have two zeros: -0.0 is a zero too, as in PyTorch, and a kept
// zero keeps its sign. The default follows PyTorch's 2:4 types: integers below 16 bits, fp16, bf16 and fp32 from there on.
// It chooses by position only: pruning by magnitude is nm_prune. A beat taken in cycle t is offered from t + 1 on.
`default_nettype none

module nm_encode24 #(
    parameter int Groups    = 1,
    parameter int DataWidth = 8,
    parameter bit Floating  = DataWidth >= 16
) (
    input  wire                          clk_i,
    input  wire                          rst_ni,
    input  wire                          valid_i,
    output wire                          ready_o,
    input  wire [Groups*4*DataWidth-1:0] dense_i,
    output wire                          valid_o,
    input  wire                          ready_i,
    output wire [Groups*2*DataWidth-1:0] value_o,
    output wire [          Groups*4-1:0] metadata_o,
    output wire                          error_o
);
  // What tells a number from zero: all bits but the sign of a floating one.
  localparam int MagnitudeWidth = Floating ? DataWidth - 1 : DataWidth;

`ifndef __ICARUS__
  if (Groups < 1) begin : gen_illegal_groups
    $fatal(1, "nm_encode24: Groups must be at least 1");
  end
  if (DataWidth < 1 || MagnitudeWidth < 1) begin : gen_illegal_data_width
    $fatal(1, "nm_encode24: DataWidth must hold a number, and more than its sign when Floating");
  end
`endif

  wire [Groups*2*DataWidth-1:0] value;
  wire [Groups*4-1:0] metadata;
  wire [Groups-1:0] over;

  for (genvar g = 0; g < Groups; g++) begin : gen_group
    wire [4*DataWidth-1:0] group = dense_i[g*4*DataWidth+:4*DataWidth];
    wire [3:0] mask;
    for (genvar i = 0; i < 4; i++) begin : gen_mask
      assign mask[i] = |group[i*DataWidth+:MagnitudeWidth];
    end
    wire [1:0] first = {~mask[0] & ~mask[1], ~mask[0] & mask[1]};
    wire [1:0] second = {first[0] | ~mask[1], first[1] | (mask[0] & mask[1]) | mask[3]};
    assign metadata[g*4+:4] = {second, first};
    assign value[g*2*DataWidth+:DataWidth] = group[first*DataWidth+:DataWidth];
    assign value[(g*2+1)*DataWidth+:DataWidth] = group[second*DataWidth+:DataWidth];
    assign over[g] = (mask[0] & mask[1] & (mask[2] | mask[3])) | (mask[2] & mask[3] & (mask[0] | mask[1]));
  end

  stream_register #(
      .Width(Groups * (2 * DataWidth + 4) + 1)
  ) u_register (
      .clk_i,
      .rst_ni,
      .valid_i,
      .ready_o,
      .data_i({|over, metadata, value}),
      .valid_o,
      .ready_i,
      .data_o({error_o, metadata_o, value_o})
  );
endmodule

`default_nettype wire
