// SPDX-License-Identifier: Apache-2.0
// Systolic array of Rows x Cols N:M processing elements (PEs), weight- or output-stationary.
//
// A PE sees M activations and has N multipliers; a weight word holds, for each column, N weights and their indexes.
// dense_i comes with a weight word: its weights meet activations 0 to N-1 and the indexes are ignored. Activations of
// row r enter r cycles late and move right, weights of column c enter c cycles late; both skews, and the one of the
// results, are made in here. Sums are signed and wrap modulo 2**AccWidth.
//
// Weight-stationary: a fold is Rows weight words (row 0 first), then activation beats, one a token, up to last_i; the
// result beat of a token has the sum over all rows, by column. Weights are double-buffered: those of the next fold are
// taken from the cycle on in which the first token of this one is.
// Output-stationary: a weight word and an activation beat are taken together; after last_i, Rows result beats leave,
// row 0 first, one result a column. Rows cycles at least lie between two last_i.
//
// The first result of a token (of last_i) is offered Rows + Cols - 1 + PipeStages (Cols + PipeStages) cycles after it
// was taken. When a result waits, all of the array waits, and empty places stay. PipeStages puts registers into every
// PE: 1 behind the sum of its N products, 2 behind the products too, 3 behind the choice of operands too. clear_i
// empties the array at the next clock edge, as a reset does; what it takes in that cycle is lost. It has no bias, does
// not sum over folds, skips no zeros, and does not check whether indexes ascend.
`default_nettype none

module nm_systolic_array #(
    parameter  int Rows             = 4,
    parameter  int Cols             = 4,
    parameter  int N                = 2,
    parameter  int M                = 4,
    parameter  int DataWidth        = 8,
    parameter  int AccWidth         = 32,
    parameter  bit OutputStationary = 1'b0,
    parameter  int WeightWidth      = DataWidth,
    parameter  int PipeStages       = 0,
    localparam int IndexWidth       = $clog2(M)
) (
    input  wire                          clk_i,
    input  wire                          rst_ni,
    input  wire                          clear_i,
    input  wire                          weight_valid_i,
    output wire                          weight_ready_o,
    input  wire                          dense_i,
    input  wire [Cols*N*WeightWidth-1:0] weight_i,
    input  wire [ Cols*N*IndexWidth-1:0] index_i,
    input  wire                          valid_i,
    output wire                          ready_o,
    input  wire                          last_i,
    input  wire [  Rows*M*DataWidth-1:0] activation_i,
    output wire                          valid_o,
    input  wire                          ready_i,
    output wire                          last_o,
    output wire [     Cols*AccWidth-1:0] sum_o
);
  localparam int ProductWidth = DataWidth + WeightWidth;
  localparam int DotWidth = ProductWidth + $clog2(N);
  localparam int CountWidth = $clog2(Rows + 1);
  localparam int ActWidth = M * DataWidth;
  localparam int WordWidth = 1 + N * (WeightWidth + IndexWidth);
  // Steps from where a result is known to come to where it leaves.
  localparam int Latency = OutputStationary ? Cols : Rows + Cols - 1 + PipeStages;

`ifndef __ICARUS__
  if (M < 2 || M != 1 << $clog2(M)) begin : gen_illegal_m
    $fatal(1, "nm_systolic_array: M must be a power of two, 2 or more");
  end
  if (N < 1 || N > M) begin : gen_illegal_n
    $fatal(1, "nm_systolic_array: N must be in 1..M");
  end
  if (Rows < 1 || Cols < 1) begin : gen_illegal_size
    $fatal(1, "nm_systolic_array: Rows and Cols must be at least 1");
  end
  if (DataWidth < 1 || WeightWidth < 1) begin : gen_illegal_data_width
    $fatal(1, "nm_systolic_array: DataWidth and WeightWidth must be at least 1");
  end
  if (AccWidth < DotWidth) begin : gen_illegal_acc_width
    $fatal(1, "nm_systolic_array: AccWidth must hold the sum of N products");
  end
  if (PipeStages < 0 || PipeStages > 3) begin : gen_illegal_pipe_stages
    $fatal(1, "nm_systolic_array: PipeStages must be in 0..3");
  end
`endif

  // The whole array moves one step, or none of it does.
  wire step = ~valid_o | ready_i;

  wire take = valid_i & ready_o;
  // The beat starts to use new weights (weight-stationary) or ends a sum (output-stationary).
  wire mark;
  // The PE row that a weight word is for (weight-stationary).
  wire [Rows-1:0] select;

  // What each PE sees, row by row; what comes from above, column by column.
  wire [Rows*Cols*ActWidth-1:0] pe_act;
  wire [Rows*Cols*2-1:0] pe_control;  // {valid, mark}
  wire [Rows*Cols*2-1:0] pe_late;  // the same, PipeStages steps later: when the sum of products is there
  wire [Cols*Rows*WordWidth-1:0] pe_word;
  wire [Cols*Rows-1:0] pe_select;
  // Partial sums to the PE below (weight-stationary), or the result if there is one, else 0 (output-stationary).
  wire [Rows*Cols*AccWidth-1:0] pe_sum;

  if (OutputStationary) begin : gen_control_os
    logic [CountWidth-1:0] wait_q;
    wire open = step & (wait_q == '0 | ~(valid_i & last_i));
    assign ready_o = open & weight_valid_i;
    assign weight_ready_o = open & valid_i;
    assign mark = take & last_i;
    assign select = '0;
    wire unused = &{1'b0, pe_select};
    always_ff @(posedge clk_i or negedge rst_ni) begin
      if (!rst_ni) wait_q <= '0;
      else if (clear_i) wait_q <= '0;
      else if (mark) wait_q <= CountWidth'(Rows - 1);
      else if (step && wait_q != '0) wait_q <= wait_q - 1'b1;
    end
  end else begin : gen_control_ws
    logic [CountWidth-1:0] loaded_q;
    logic first_q;
    wire full = loaded_q == CountWidth'(Rows);
    wire take_weight = weight_valid_i & weight_ready_o;
    wire [CountWidth-1:0] row = mark ? '0 : loaded_q;
    assign ready_o = step & (~first_q | full);
    assign weight_ready_o = step & (~full | (first_q & valid_i));
    assign mark = take & first_q;
    for (genvar r = 0; r < Rows; r++) begin : gen_select
      assign select[r] = take_weight & row == CountWidth'(r);
    end
    always_ff @(posedge clk_i or negedge rst_ni) begin
      if (!rst_ni) begin
        loaded_q <= '0;
        first_q  <= 1'b1;
      end else if (clear_i) begin
        loaded_q <= '0;
        first_q  <= 1'b1;
      end else begin
        loaded_q <= row + CountWidth'(take_weight);
        if (take) first_q <= last_i;
      end
    end
  end

  for (genvar r = 0; r < Rows; r++) begin : gen_row
    localparam int Length = r + Cols - 1;
    localparam int ControlLength = Length + PipeStages;
    wire [(Length+1)*ActWidth-1:0] act;
    wire [(ControlLength+1)*2-1:0] control;
    assign act[0+:ActWidth] = activation_i[r*ActWidth+:ActWidth];
    assign control[1:0] = {take, mark};
    assign pe_act[r*Cols*ActWidth+:Cols*ActWidth] = act[r*ActWidth+:Cols*ActWidth];
    assign pe_control[r*Cols*2+:Cols*2] = control[r*2+:Cols*2];
    assign pe_late[r*Cols*2+:Cols*2] = control[(r+PipeStages)*2+:Cols*2];
    if (Length > 0) begin : gen_line
      logic [Length*ActWidth-1:0] act_q;
      assign act[ActWidth+:Length*ActWidth] = act_q;
      always_ff @(posedge clk_i) begin
        if (step) act_q <= act[0+:Length*ActWidth];
      end
    end
    if (ControlLength > 0) begin : gen_control_line
      logic [ControlLength*2-1:0] control_q;
      assign control[2+:ControlLength*2] = control_q;
      always_ff @(posedge clk_i or negedge rst_ni) begin
        if (!rst_ni) control_q <= '0;
        else if (clear_i) control_q <= '0;
        else if (step) control_q <= control[0+:ControlLength*2];
      end
    end
  end

  for (genvar c = 0; c < Cols; c++) begin : gen_col
    localparam int Length = OutputStationary ? c + Rows - 1 : c;
    wire [(Length+1)*WordWidth-1:0] word;
    assign word[0+:WordWidth] = {
      dense_i, index_i[c*N*IndexWidth+:N*IndexWidth], weight_i[c*N*WeightWidth+:N*WeightWidth]
    };
    if (Length > 0) begin : gen_line
      logic [Length*WordWidth-1:0] word_q;
      assign word[WordWidth+:Length*WordWidth] = word_q;
      always_ff @(posedge clk_i) begin
        if (step) word_q <= word[0+:Length*WordWidth];
      end
    end
    if (OutputStationary) begin : gen_down
      assign pe_word[c*Rows*WordWidth+:Rows*WordWidth] = word[c*WordWidth+:Rows*WordWidth];
      assign pe_select[c*Rows+:Rows] = select;
    end else begin : gen_across
      assign pe_word[c*Rows*WordWidth+:Rows*WordWidth] = {Rows{word[c*WordWidth+:WordWidth]}};
      wire [(c+1)*Rows-1:0] selects;
      assign selects[0+:Rows] = select;
      assign pe_select[c*Rows+:Rows] = selects[c*Rows+:Rows];
      if (c > 0) begin : gen_selects
        logic [c*Rows-1:0] selects_q;
        assign selects[Rows+:c*Rows] = selects_q;
        always_ff @(posedge clk_i) begin
          if (step) selects_q <= selects[0+:c*Rows];
        end
      end
    end
  end

  for (genvar r = 0; r < Rows; r++) begin : gen_pe_row
    for (genvar c = 0; c < Cols; c++) begin : gen_pe
      localparam int Pe = r * Cols + c;
      wire [ActWidth-1:0] act = pe_act[Pe*ActWidth+:ActWidth];
      wire marked = pe_control[Pe*2];
      wire late_valid = pe_late[Pe*2+1];
      wire late_marked = pe_late[Pe*2];
      wire [WordWidth-1:0] word_in = pe_word[(c*Rows+r)*WordWidth+:WordWidth];
      wire [WordWidth-1:0] word;
      wire dense = word[WordWidth-1];

      // Operands, products and their sum, with a register behind each that PipeStages asks for.
      logic [N*DataWidth-1:0] chosen;
      logic [IndexWidth-1:0] index;
      always_comb begin
        for (int j = 0; j < N; j++) begin
          index = dense ? IndexWidth'(j) : word[N*WeightWidth+j*IndexWidth+:IndexWidth];
          chosen[j*DataWidth+:DataWidth] = act[index*DataWidth+:DataWidth];
        end
      end
      wire [  N*DataWidth-1:0] operand;
      wire [N*WeightWidth-1:0] weight;
      if (PipeStages > 2) begin : gen_operand_register
        logic [  N*DataWidth-1:0] operand_q;
        logic [N*WeightWidth-1:0] weight_q;
        assign operand = operand_q;
        assign weight  = weight_q;
        always_ff @(posedge clk_i) begin
          if (step) begin
            operand_q <= chosen;
            weight_q  <= word[0+:N*WeightWidth];
          end
        end
      end else begin : gen_operand_wire
        assign operand = chosen;
        assign weight  = word[0+:N*WeightWidth];
      end

      logic [N*ProductWidth-1:0] multiplied;
      always_comb begin
        for (int j = 0; j < N; j++) begin
          multiplied[j*ProductWidth+:ProductWidth] = ProductWidth'($signed(operand[j*DataWidth+:DataWidth])) *
              ProductWidth'($signed(weight[j*WeightWidth+:WeightWidth]));
        end
      end
      wire [N*ProductWidth-1:0] product;
      if (PipeStages > 1) begin : gen_product_register
        logic [N*ProductWidth-1:0] product_q;
        assign product = product_q;
        always_ff @(posedge clk_i) begin
          if (step) product_q <= multiplied;
        end
      end else begin : gen_product_wire
        assign product = multiplied;
      end

      logic signed [DotWidth-1:0] added;
      always_comb begin
        added = '0;
        for (int j = 0; j < N; j++) added = added + DotWidth'($signed(product[j*ProductWidth+:ProductWidth]));
      end
      wire signed [DotWidth-1:0] dot;
      if (PipeStages > 0) begin : gen_dot_register
        logic signed [DotWidth-1:0] dot_q;
        assign dot = dot_q;
        always_ff @(posedge clk_i) begin
          if (step) dot_q <= added;
        end
      end else begin : gen_dot_wire
        assign dot = added;
      end

      if (OutputStationary) begin : gen_accumulate
        logic signed [AccWidth-1:0] partial_q;
        wire signed [AccWidth-1:0] total = partial_q + AccWidth'(dot);
        wire unused_marked = &{1'b0, marked};
        assign word = word_in;
        assign pe_sum[Pe*AccWidth+:AccWidth] = late_marked ? total : '0;
        always_ff @(posedge clk_i or negedge rst_ni) begin
          if (!rst_ni) partial_q <= '0;
          else if (clear_i) partial_q <= '0;
          else if (step && late_valid) partial_q <= late_marked ? '0 : total;
        end
      end else begin : gen_pass
        logic [WordWidth-1:0] next_q, word_q;
        logic signed [AccWidth-1:0] sum_q;
        wire signed  [AccWidth-1:0] above;
        if (r == 0) begin : gen_first
          assign above = '0;
        end else begin : gen_below
          assign above = pe_sum[(Pe-Cols)*AccWidth+:AccWidth];
        end
        wire unused_marked = &{1'b0, late_marked};
        assign word = marked ? next_q : word_q;
        assign pe_sum[Pe*AccWidth+:AccWidth] = sum_q;
        always_ff @(posedge clk_i) begin
          if (step && pe_select[c*Rows+r]) next_q <= word_in;
          if (marked) word_q <= next_q;
          if (step && late_valid) sum_q <= above + AccWidth'(dot);
        end
      end
    end
  end

  // Results of the columns, brought to the same cycle.
  for (genvar c = 0; c < Cols; c++) begin : gen_result
    localparam int Length = OutputStationary ? Cols - c : Cols - 1 - c;
    wire [(Length+1)*AccWidth-1:0] result;
    if (OutputStationary) begin : gen_bus
      logic [AccWidth-1:0] bus;
      always_comb begin
        bus = '0;
        for (int r = 0; r < Rows; r++) bus = bus | pe_sum[(r*Cols+c)*AccWidth+:AccWidth];
      end
      assign result[0+:AccWidth] = bus;
    end else begin : gen_bottom
      assign result[0+:AccWidth] = pe_sum[((Rows-1)*Cols+c)*AccWidth+:AccWidth];
    end
    if (Length > 0) begin : gen_line
      logic [Length*AccWidth-1:0] result_q;
      assign result[AccWidth+:Length*AccWidth] = result_q;
      always_ff @(posedge clk_i) begin
        if (step) result_q <= result[0+:Length*AccWidth];
      end
    end
    assign sum_o[c*AccWidth+:AccWidth] = result[Length*AccWidth+:AccWidth];
  end

  // {valid, last} of the results.
  logic [Latency*2-1:0] leave_q;
  wire [1:0] leave;
  if (OutputStationary) begin : gen_leave_os
    logic [Rows-1:0] done;
    always_comb begin
      for (int r = 0; r < Rows; r++) done[r] = pe_late[r*Cols*2];
    end
    assign leave = {|done, done[Rows-1]};
  end else begin : gen_leave_ws
    assign leave = {take, take & last_i};
  end
  assign {valid_o, last_o} = leave_q[(Latency-1)*2+:2];
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) leave_q <= '0;
    else if (clear_i) leave_q <= '0;
    else if (step) leave_q <= (2 * Latency)'({leave_q, leave});
  end
endmodule

`default_nettype wire
