// SPDX-License-Identifier: Apache-2.0
// N kept values and their metadata back to a dense group of M, registered.
//
// Bitmap = 0: metadata is N indexes, the first in the low bits; legal when each is below M and they ascend strictly.
// Bitmap = 1: metadata is M bits, bit i set when value i is kept; legal when N bits are set.
// Illegal metadata raises error_o with the beat, and the group is all zeros. Kept zeros are legal. A beat taken in
// cycle t is offered from t + 1 on.
`default_nettype none

module nm_decompress #(
    parameter  int N             = 2,
    parameter  int M             = 4,
    parameter  int DataWidth     = 8,
    parameter  bit Bitmap        = 1'b0,
    localparam int IndexWidth    = $clog2(M),
    localparam int MetadataWidth = Bitmap ? M : N * IndexWidth
) (
    input  wire                     clk_i,
    input  wire                     rst_ni,
    input  wire                     valid_i,
    output wire                     ready_o,
    input  wire [  N*DataWidth-1:0] value_i,
    input  wire [MetadataWidth-1:0] metadata_i,
    output wire                     valid_o,
    input  wire                     ready_i,
    output wire [  M*DataWidth-1:0] dense_o,
    output wire                     error_o
);
`ifndef __ICARUS__
  if (M < 2) begin : gen_illegal_m
    $fatal(1, "nm_decompress: M must be at least 2");
  end
  if (N < 1 || N > M) begin : gen_illegal_n
    $fatal(1, "nm_decompress: N must be in 1..M");
  end
`endif

  logic legal;
  logic [M*DataWidth-1:0] dense;

  if (Bitmap) begin : gen_bitmap
    localparam int CountWidth = $clog2(M + 1);
    logic [CountWidth-1:0] count;
    always_comb begin
      dense = '0;
      count = '0;
      for (int i = 0; i < M; i++) begin
        if (metadata_i[i]) begin
          if (count < CountWidth'(N)) dense[i*DataWidth+:DataWidth] = value_i[count*DataWidth+:DataWidth];
          count = count + 1'b1;
        end
      end
      legal = count == CountWidth'(N);
    end
  end else begin : gen_index
    // One bit more than an index has, so that M itself can be told apart.
    logic [IndexWidth:0] index, previous;
    always_comb begin
      dense = '0;
      legal = 1'b1;
      previous = '0;
      for (int j = 0; j < N; j++) begin
        index = {1'b0, metadata_i[j*IndexWidth+:IndexWidth]};
        if (index >= (IndexWidth + 1)'(M)) legal = 1'b0;
        else dense[index*DataWidth+:DataWidth] = value_i[j*DataWidth+:DataWidth];
        if (j > 0 && index <= previous) legal = 1'b0;
        previous = index;
      end
    end
  end

  stream_register #(
      .Width(M * DataWidth + 1)
  ) u_register (
      .clk_i,
      .rst_ni,
      .valid_i,
      .ready_o,
      .data_i({~legal, legal ? dense : {M * DataWidth{1'b0}}}),
      .valid_o,
      .ready_i,
      .data_o({error_o, dense_o})
  );
endmodule

`default_nettype wire
