// The edges of a graph of neighbours: y_ij = ReLU(scale (x_i - x_j) + shift) for each row i of a jet
// and each of its k neighbours j, which are rows of the same jet. They are made where they are
// needed, a jet at a time in the cache, and never kept.

#ifndef UCLUSTER_TUNE_EDGES_H_
#define UCLUSTER_TUNE_EDGES_H_

#include <atomic>
#include <string>
#include <vector>

#include "rows.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/lib/core/errors.h"

namespace ucluster_tune {

// The first three inputs of each of these operations.
struct Graph {
  int64_t n_rows, n_channels, n_neighbors, n_jets;
  const int32_t* neighbors;  // [row, neighbor]
  const int32_t* starts;     // [jet + 1]: the first row of each jet, and the number of rows

  const int32_t* NeighborsOf(int64_t row) const { return neighbors + row * n_neighbors; }
};

// Returns the graph of `values` [row, channel], or sets the context's status.
inline Graph ReadGraph(OpKernelContext* context) {
  const Tensor &values = context->input(0), &neighbors = context->input(1),
               &starts = context->input(2);
  Graph graph{};
  const bool is_sound = values.dims() == 2 && neighbors.dims() == 2 && starts.dims() == 1 &&
                        starts.dim_size(0) > 0 && neighbors.dim_size(0) == values.dim_size(0);
  if (!is_sound) {
    context->SetStatus(tensorflow::errors::InvalidArgument(
        "values must be [row, channel], neighbors [row, neighbor] and starts [jet + 1], got ",
        values.shape().DebugString(), ", ", neighbors.shape().DebugString(), " and ",
        starts.shape().DebugString()));
    return graph;
  }
  graph = {values.dim_size(0),        values.dim_size(1),       neighbors.dim_size(1),
           starts.dim_size(0) - 1,    Data<int32_t>(neighbors), Data<int32_t>(starts)};
  int32_t begin = 0;
  for (int64_t jet = 0; jet < graph.n_jets; ++jet) {
    const int32_t end = graph.starts[jet + 1];
    if (graph.starts[jet] != begin || end < begin || end > graph.n_rows) {
      context->SetStatus(tensorflow::errors::InvalidArgument(
          "starts must ascend from 0 to the number of rows, ", graph.n_rows));
      return graph;
    }
    for (int64_t at = begin * graph.n_neighbors; at < end * graph.n_neighbors; ++at) {
      if (graph.neighbors[at] < begin || graph.neighbors[at] >= end) {
        context->SetStatus(tensorflow::errors::InvalidArgument(
            "row ", graph.neighbors[at], " is a neighbour in jet ", jet, ", whose rows are ",
            begin, " to ", end - 1));
        return graph;
      }
    }
    begin = end;
  }
  if (begin != graph.n_rows) {
    context->SetStatus(tensorflow::errors::InvalidArgument(
        "starts must ascend from 0 to the number of rows, ", graph.n_rows));
  }
  return graph;
}

// Calls work(block, begin row, end row) for each jet; jets of a block come one after the other.
template <typename Work>
void ForEachJet(OpKernelContext* context, const Graph& graph, Work work) {
  const int64_t rows_of_a_jet = graph.n_rows / std::max<int64_t>(1, graph.n_jets) + 1;
  const int64_t cost = rows_of_a_jet * graph.n_neighbors * graph.n_channels;
  ForEachBlock(context, graph.n_jets, cost, [&](int64_t block, int64_t first, int64_t last) {
    for (int64_t jet = first; jet < last; ++jet) {
      work(block, graph.starts[jet], graph.starts[jet + 1]);
    }
  });
}

}  // namespace ucluster_tune

#endif  // UCLUSTER_TUNE_EDGES_H_
