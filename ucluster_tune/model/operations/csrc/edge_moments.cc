// Sums of x_i - x_j and of its square over all edges, each edge weighted as its row i.

#include "edges.h"
#include "tensorflow/core/framework/op.h"

namespace ucluster_tune {
namespace {

using tensorflow::shape_inference::InferenceContext;

REGISTER_OP("UclusterEdgeMoments")
    .Attr("T: {float, double}")
    .Input("values: T")
    .Input("neighbors: int32")
    .Input("starts: int32")
    .Input("weights: T")
    .Output("sums: T")
    .SetShapeFn([](InferenceContext* context) {
      context->set_output(0, context->Matrix(2, context->Dim(context->input(0), 1)));
      return absl::OkStatus();
    });

template <typename T>
class EdgeMoments : public tensorflow::OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Graph graph = ReadGraph(context);
    if (!context->status().ok()) return;
    const int64_t n = graph.n_channels;
    const T* values = Data<T>(context->input(0));
    const T* weights = Data<T>(context->input(3));
    Tensor* output;
    OP_REQUIRES_OK(context, context->allocate_output(0, {2, n}, &output));
    BlockSums<T> sums(graph.n_jets, 2 * n);
    ForEachJet(context, graph, [&](int64_t block, int64_t begin, int64_t end) {
      T* first = sums.Of(block);
      T* second = first + n;
      const int64_t width = n;
      std::vector<T> of_row(2 * n);
      for (int64_t row = begin; row < end; ++row) {
        std::fill(of_row.begin(), of_row.end(), T(0));
        T* difference = of_row.data();
        T* square = difference + n;
        const T* own = values + row * n;
        for (int64_t k = 0; k < graph.n_neighbors; ++k) {
          const T* other = values + graph.NeighborsOf(row)[k] * n;
#pragma omp simd
          for (int64_t c = 0; c < width; ++c) {
            const T edge = own[c] - other[c];
            difference[c] += edge;
            square[c] += edge * edge;
          }
        }
        const T weight = weights[row];
#pragma omp simd
        for (int64_t c = 0; c < width; ++c) {
          first[c] += weight * difference[c];
          second[c] += weight * square[c];
        }
      }
    });
    T* result = Data<T>(output);
    for (int64_t c = 0; c < 2 * n; ++c) result[c] = static_cast<T>(sums.Total(c));
  }
};

REGISTER_OP("UclusterEdgeMomentsGrad")
    .Attr("T: {float, double}")
    .Input("values: T")
    .Input("neighbors: int32")
    .Input("starts: int32")
    .Input("weights: T")
    .Input("d_sums: T")
    .Output("d_values: T")
    .SetShapeFn([](InferenceContext* context) {
      context->set_output(0, context->input(0));
      return absl::OkStatus();
    });

template <typename T>
class EdgeMomentsGrad : public tensorflow::OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Graph graph = ReadGraph(context);
    if (!context->status().ok()) return;
    const int64_t n = graph.n_channels;
    const T* values = Data<T>(context->input(0));
    const T* weights = Data<T>(context->input(3));
    const T* d_first = Data<T>(context->input(4));
    const T* d_second = d_first + n;
    Tensor* output;
    OP_REQUIRES_OK(context, context->allocate_output(0, {graph.n_rows, n}, &output));
    T* d_values = Data<T>(output);
    ForEachJet(context, graph, [&](int64_t, int64_t begin, int64_t end) {
      std::fill(d_values + begin * n, d_values + end * n, T(0));
      const int64_t width = n;
      const T* of_first = d_first;
      const T* of_second = d_second;
      std::vector<T> of_own(n);
      for (int64_t row = begin; row < end; ++row) {
        std::fill(of_own.begin(), of_own.end(), T(0));
        T* d_own = of_own.data();
        const T* own = values + row * n;
        const T weight = weights[row];
        for (int64_t k = 0; k < graph.n_neighbors; ++k) {
          const int64_t neighbor = graph.NeighborsOf(row)[k];
          const T* other = values + neighbor * n;
          T* d_other = d_values + neighbor * n;
#pragma omp simd
          for (int64_t c = 0; c < width; ++c) {
            const T d_edge = weight * (of_first[c] + 2 * of_second[c] * (own[c] - other[c]));
            d_own[c] += d_edge;
            d_other[c] -= d_edge;
          }
        }
        T* d_row = d_values + row * n;
#pragma omp simd
        for (int64_t c = 0; c < width; ++c) d_row[c] += d_own[c];
      }
    });
  }
};

#define REGISTER_KERNELS(T)                                                             \
  REGISTER_KERNEL_BUILDER(Name("UclusterEdgeMoments")                                   \
                              .Device(tensorflow::DEVICE_CPU)                           \
                              .TypeConstraint<T>("T"),                                  \
                          EdgeMoments<T>);                                              \
  REGISTER_KERNEL_BUILDER(Name("UclusterEdgeMomentsGrad")                               \
                              .Device(tensorflow::DEVICE_CPU)                           \
                              .TypeConstraint<T>("T"),                                  \
                          EdgeMomentsGrad<T>)
REGISTER_KERNELS(float);
REGISTER_KERNELS(double);
#undef REGISTER_KERNELS

}  // namespace
}  // namespace ucluster_tune
