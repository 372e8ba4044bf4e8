// What an attention block makes of a row's edges: their weighted sum and their maximum.

#include "edges.h"
#include "scaled_jet.h"
#include "tensorflow/core/framework/op.h"

namespace ucluster_tune {
namespace {

using tensorflow::shape_inference::InferenceContext;

REGISTER_OP("UclusterEdgeFeatures")
    .Attr("T: {float, double}")
    .Input("values: T")
    .Input("neighbors: int32")
    .Input("starts: int32")
    .Input("scale: T")
    .Input("shift: T")
    .Input("coefficients: T")
    .Output("attended: T")
    .Output("largest: T")
    .SetShapeFn([](InferenceContext* context) {
      for (int output = 0; output < 2; ++output) context->set_output(output, context->input(0));
      return absl::OkStatus();
    });

template <typename T>
class EdgeFeatures : public tensorflow::OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Graph graph = ReadGraph(context);
    if (!context->status().ok()) return;
    const int64_t n = graph.n_channels;
    const T* scale = Data<T>(context->input(3));
    const T* shift = Data<T>(context->input(4));
    const T* coefficients = Data<T>(context->input(5));
    Tensor *of_attended, *of_largest;
    OP_REQUIRES_OK(context, context->allocate_output(0, {graph.n_rows, n}, &of_attended));
    OP_REQUIRES_OK(context, context->allocate_output(1, {graph.n_rows, n}, &of_largest));
    ForEachJet(context, graph, [&](int64_t, int64_t begin, int64_t end) {
      const ScaledJet<T> jet(Data<T>(context->input(0)), scale, begin, end, n);
      std::vector<T> scratch(3 * n);
      T* own_end = scratch.data();
      T* sum = own_end + n;
      T* maximum = sum + n;
      const int64_t width = n;
      for (int64_t row = begin; row < end; ++row) {
        const T* own = jet.ShiftedRow(row, shift, own_end);
        std::fill(sum, sum + 2 * n, T(0));  // no edge is below zero
        for (int64_t k = 0; k < graph.n_neighbors; ++k) {
          const T* other = jet.Row(graph.NeighborsOf(row)[k]);
          const T coefficient = coefficients[row * graph.n_neighbors + k];
#pragma omp simd
          for (int64_t c = 0; c < width; ++c) {
            const T edge = Relu(own[c] - other[c]);
            sum[c] += coefficient * edge;
            maximum[c] = edge > maximum[c] ? edge : maximum[c];
          }
        }
        std::copy(sum, sum + n, Data<T>(of_attended) + row * n);
        std::copy(maximum, maximum + n, Data<T>(of_largest) + row * n);
      }
    });
  }
};

REGISTER_OP("UclusterEdgeFeaturesGrad")
    .Attr("T: {float, double}")
    .Input("values: T")
    .Input("neighbors: int32")
    .Input("starts: int32")
    .Input("scale: T")
    .Input("shift: T")
    .Input("coefficients: T")
    .Input("largest: T")
    .Input("d_attended: T")
    .Input("d_largest: T")
    .Output("d_values: T")
    .Output("d_scale: T")
    .Output("d_shift: T")
    .Output("d_coefficients: T")
    .SetShapeFn([](InferenceContext* context) {
      context->set_output(0, context->input(0));
      context->set_output(1, context->input(3));
      context->set_output(2, context->input(3));
      context->set_output(3, context->input(1));
      return absl::OkStatus();
    });

template <typename T>
class EdgeFeaturesGrad : public tensorflow::OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Graph graph = ReadGraph(context);
    if (!context->status().ok()) return;
    const int64_t n = graph.n_channels;
    const T* values = Data<T>(context->input(0));
    const T* scale = Data<T>(context->input(3));
    const T* shift = Data<T>(context->input(4));
    const T* coefficients = Data<T>(context->input(5));
    const T* largest = Data<T>(context->input(6));
    const T* d_attended = Data<T>(context->input(7));
    const T* d_largest = Data<T>(context->input(8));
    Tensor *of_values, *of_scale, *of_shift, *of_coefficients;
    OP_REQUIRES_OK(context, context->allocate_output(0, {graph.n_rows, n}, &of_values));
    OP_REQUIRES_OK(context, context->allocate_output(1, {n}, &of_scale));
    OP_REQUIRES_OK(context, context->allocate_output(2, {n}, &of_shift));
    OP_REQUIRES_OK(context, context->allocate_output(3, {graph.n_rows, graph.n_neighbors},
                                                     &of_coefficients));
    T* d_values = Data<T>(of_values);
    T* d_coefficients = Data<T>(of_coefficients);
    BlockSums<T> sums(graph.n_jets, 2 * n);
    ForEachJet(context, graph, [&](int64_t block, int64_t begin, int64_t end) {
      T* d_scale = sums.Of(block);
      T* d_shift = d_scale + n;
      const ScaledJet<T> jet(values, scale, begin, end, n);
      JetGradient<T> gradient(begin, end, n);
      std::vector<T> scratch(3 * n);
      T* own_end = scratch.data();
      T* d_own = own_end + n;
      T* unspent = d_own + n;
      const int64_t width = n;
      for (int64_t row = begin; row < end; ++row) {
        const T* own = jet.ShiftedRow(row, shift, own_end);
        const T* row_largest = largest + row * n;
        const T* row_d_attended = d_attended + row * n;
        std::fill(d_own, d_own + n, T(0));
        // The gradient of a maximum goes to the first edge that is as large. Others are, where a
        // padded row is a neighbour several times, and then it is all one.
        std::copy(d_largest + row * n, d_largest + (row + 1) * n, unspent);
        for (int64_t k = 0; k < graph.n_neighbors; ++k) {
          const int64_t neighbor = graph.NeighborsOf(row)[k];
          const T* other = jet.Row(neighbor);
          T* d_other = gradient.Row(neighbor);
          const T coefficient = coefficients[row * graph.n_neighbors + k];
          T d_coefficient = 0;
#pragma omp simd reduction(+ : d_coefficient)
          for (int64_t c = 0; c < width; ++c) {
            const T difference = own[c] - other[c];
            const T edge = Relu(difference);
            d_coefficient += row_d_attended[c] * edge;
            const T of_maximum = edge == row_largest[c] ? unspent[c] : T(0);
            unspent[c] -= of_maximum;
            const T d_edge =
                difference > T(0) ? coefficient * row_d_attended[c] + of_maximum : T(0);
            d_own[c] += d_edge;
            d_other[c] -= d_edge;
          }
          d_coefficients[row * graph.n_neighbors + k] = d_coefficient;
        }
        T* d_row = gradient.Row(row);
#pragma omp simd
        for (int64_t c = 0; c < width; ++c) {
          d_row[c] += d_own[c];
          d_shift[c] += d_own[c];
        }
      }
      gradient.ToValues(values, scale, d_values, d_scale);
    });
    T* results[] = {Data<T>(of_scale), Data<T>(of_shift)};
    for (int64_t c = 0; c < 2 * n; ++c) results[c / n][c % n] = static_cast<T>(sums.Total(c));
  }
};

#define REGISTER_KERNELS(T)                                                             \
  REGISTER_KERNEL_BUILDER(Name("UclusterEdgeFeatures")                                  \
                              .Device(tensorflow::DEVICE_CPU)                           \
                              .TypeConstraint<T>("T"),                                  \
                          EdgeFeatures<T>);                                             \
  REGISTER_KERNEL_BUILDER(Name("UclusterEdgeFeaturesGrad")                              \
                              .Device(tensorflow::DEVICE_CPU)                           \
                              .TypeConstraint<T>("T"),                                  \
                          EdgeFeaturesGrad<T>)
REGISTER_KERNELS(float);
REGISTER_KERNELS(double);
#undef REGISTER_KERNELS

}  // namespace
}  // namespace ucluster_tune
