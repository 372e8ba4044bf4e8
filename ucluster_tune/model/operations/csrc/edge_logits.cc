// The attention logit of each edge before its batch norm: sum over channels of w y_ij.

#include "edges.h"
#include "scaled_jet.h"
#include "tensorflow/core/framework/op.h"

namespace ucluster_tune {
namespace {

using tensorflow::shape_inference::InferenceContext;

REGISTER_OP("UclusterEdgeLogits")
    .Attr("T: {float, double}")
    .Input("values: T")
    .Input("neighbors: int32")
    .Input("starts: int32")
    .Input("scale: T")
    .Input("shift: T")
    .Input("logit_weights: T")
    .Output("logits: T")
    .SetShapeFn([](InferenceContext* context) {
      context->set_output(0, context->input(1));
      return absl::OkStatus();
    });

template <typename T>
class EdgeLogits : public tensorflow::OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Graph graph = ReadGraph(context);
    if (!context->status().ok()) return;
    const int64_t n = graph.n_channels;
    const T* scale = Data<T>(context->input(3));
    const T* shift = Data<T>(context->input(4));
    const T* logit_weights = Data<T>(context->input(5));
    Tensor* output;
    OP_REQUIRES_OK(context, context->allocate_output(
                                0, {graph.n_rows, graph.n_neighbors}, &output));
    T* logits = Data<T>(output);
    ForEachJet(context, graph, [&](int64_t, int64_t begin, int64_t end) {
      const ScaledJet<T> jet(Data<T>(context->input(0)), scale, begin, end, n);
      const T* weights = logit_weights;
      const int64_t width = n;
      std::vector<T> own_end(n);
      for (int64_t row = begin; row < end; ++row) {
        const T* own = jet.ShiftedRow(row, shift, own_end.data());
        for (int64_t k = 0; k < graph.n_neighbors; ++k) {
          const T* other = jet.Row(graph.NeighborsOf(row)[k]);
          T logit = 0;
#pragma omp simd reduction(+ : logit)
          for (int64_t c = 0; c < width; ++c) logit += weights[c] * Relu(own[c] - other[c]);
          logits[row * graph.n_neighbors + k] = logit;
        }
      }
    });
  }
};

REGISTER_OP("UclusterEdgeLogitsGrad")
    .Attr("T: {float, double}")
    .Input("values: T")
    .Input("neighbors: int32")
    .Input("starts: int32")
    .Input("scale: T")
    .Input("shift: T")
    .Input("logit_weights: T")
    .Input("d_logits: T")
    .Output("d_values: T")
    .Output("d_scale: T")
    .Output("d_shift: T")
    .Output("d_logit_weights: T")
    .SetShapeFn([](InferenceContext* context) {
      context->set_output(0, context->input(0));
      for (int output = 1; output < 4; ++output) context->set_output(output, context->input(3));
      return absl::OkStatus();
    });

template <typename T>
class EdgeLogitsGrad : public tensorflow::OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Graph graph = ReadGraph(context);
    if (!context->status().ok()) return;
    const int64_t n = graph.n_channels;
    const T* values = Data<T>(context->input(0));
    const T* scale = Data<T>(context->input(3));
    const T* shift = Data<T>(context->input(4));
    const T* logit_weights = Data<T>(context->input(5));
    const T* d_logits = Data<T>(context->input(6));
    Tensor *of_values, *of_scale, *of_shift, *of_weights;
    OP_REQUIRES_OK(context, context->allocate_output(0, {graph.n_rows, n}, &of_values));
    OP_REQUIRES_OK(context, context->allocate_output(1, {n}, &of_scale));
    OP_REQUIRES_OK(context, context->allocate_output(2, {n}, &of_shift));
    OP_REQUIRES_OK(context, context->allocate_output(3, {n}, &of_weights));
    T* d_values = Data<T>(of_values);
    BlockSums<T> sums(graph.n_jets, 3 * n);
    ForEachJet(context, graph, [&](int64_t block, int64_t begin, int64_t end) {
      T* d_scale = sums.Of(block);
      T* d_shift = d_scale + n;
      T* d_weights = d_shift + n;
      const ScaledJet<T> jet(values, scale, begin, end, n);
      JetGradient<T> gradient(begin, end, n);
      std::vector<T> scratch(3 * n);
      T* own_end = scratch.data();
      T* d_own = own_end + n;
      T* edge_sum = d_own + n;
      const T* weights = logit_weights;
      const int64_t width = n;
      for (int64_t row = begin; row < end; ++row) {
        const T* own = jet.ShiftedRow(row, shift, own_end);
        std::fill(d_own, d_own + 2 * n, T(0));
        for (int64_t k = 0; k < graph.n_neighbors; ++k) {
          const int64_t neighbor = graph.NeighborsOf(row)[k];
          const T* other = jet.Row(neighbor);
          T* d_other = gradient.Row(neighbor);
          const T d_logit = d_logits[row * graph.n_neighbors + k];
#pragma omp simd
          for (int64_t c = 0; c < width; ++c) {
            const T difference = own[c] - other[c];
            edge_sum[c] += d_logit * Relu(difference);
            const T d_edge = difference > T(0) ? d_logit * weights[c] : T(0);
            d_own[c] += d_edge;
            d_other[c] -= d_edge;
          }
        }
        T* d_row = gradient.Row(row);
#pragma omp simd
        for (int64_t c = 0; c < width; ++c) {
          d_row[c] += d_own[c];
          d_shift[c] += d_own[c];
          d_weights[c] += edge_sum[c];
        }
      }
      gradient.ToValues(values, scale, d_values, d_scale);
    });
    T* results[] = {Data<T>(of_scale), Data<T>(of_shift), Data<T>(of_weights)};
    for (int64_t c = 0; c < 3 * n; ++c) results[c / n][c % n] = static_cast<T>(sums.Total(c));
  }
};

#define REGISTER_KERNELS(T)                                                             \
  REGISTER_KERNEL_BUILDER(Name("UclusterEdgeLogits")                                    \
                              .Device(tensorflow::DEVICE_CPU)                           \
                              .TypeConstraint<T>("T"),                                  \
                          EdgeLogits<T>);                                               \
  REGISTER_KERNEL_BUILDER(Name("UclusterEdgeLogitsGrad")                                \
                              .Device(tensorflow::DEVICE_CPU)                           \
                              .TypeConstraint<T>("T"),                                  \
                          EdgeLogitsGrad<T>)
REGISTER_KERNELS(float);
REGISTER_KERNELS(double);
#undef REGISTER_KERNELS

}  // namespace
}  // namespace ucluster_tune
