// SPDX-License-Identifier: Apache-2.0
// decompress(encode(x)) = x for every legal 2:4 group, and the error flag rises for every other one.
module decompress_encode24 #(
    parameter int DataWidth = 8
) (
    input wire clk_i,
    input wire [4*DataWidth-1:0] dense_i
);
  reg [1:0] age = 2'd0;
  reg [4*DataWidth-1:0] first_q, second_q;
  reg error_q;
  wire [2*DataWidth-1:0] value;
  wire [3:0] metadata;
  wire [4*DataWidth-1:0] back;
  wire encoded, encode_error, valid, illegal, ready_encode, ready_decompress;

  nm_encode24 #(
      .Groups(1),
      .DataWidth(DataWidth)
  ) u_encode (
      .clk_i,
      .rst_ni(age != 2'd0),
      .valid_i(1'b1),
      .ready_o(ready_encode),
      .dense_i,
      .valid_o(encoded),
      .ready_i(1'b1),
      .value_o(value),
      .metadata_o(metadata),
      .error_o(encode_error)
  );

  nm_decompress #(
      .N(2),
      .M(4),
      .DataWidth(DataWidth)
  ) u_decompress (
      .clk_i,
      .rst_ni(age != 2'd0),
      .valid_i(encoded),
      .ready_o(ready_decompress),
      .value_i(value),
      .metadata_i(metadata),
      .valid_o(valid),
      .ready_i(1'b1),
      .dense_o(back),
      .error_o(illegal)
  );

  wire [2:0] kept = {2'd0, |second_q[0+:DataWidth]} + {2'd0, |second_q[DataWidth+:DataWidth]}
      + {2'd0, |second_q[2*DataWidth+:DataWidth]} + {2'd0, |second_q[3*DataWidth+:DataWidth]};

  always @(posedge clk_i) begin
    if (age != 2'd3) age <= age + 2'd1;
    first_q  <= dense_i;
    second_q <= first_q;
    error_q  <= encode_error;
    if (age == 2'd3) begin
      assert (valid);
      assert (!illegal);
      assert (error_q == (kept > 3'd2));
      if (kept <= 3'd2) assert (back == second_q);
    end
  end
endmodule
