// ReLU(batch norm) of weighted rows, with the moments of the batch or with given ones.

#include <cmath>

#include "rows.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/lib/core/errors.h"

namespace ucluster_tune {
namespace {

using tensorflow::shape_inference::InferenceContext;

// Returns whether `values` is [row, channel] and the inputs at `vectors` fit its channels.
inline bool AreRows(OpKernelContext* context, std::initializer_list<int> vectors) {
  const Tensor& values = context->input(0);
  bool is_sound = values.dims() == 2;
  for (int input : vectors) {
    is_sound = is_sound && context->input(input).dims() == 1 &&
               context->input(input).dim_size(0) == values.dim_size(1);
  }
  if (!is_sound) {
    context->SetStatus(tensorflow::errors::InvalidArgument(
        "values must be [row, channel], the other inputs [channel], got ",
        values.shape().DebugString()));
  }
  return is_sound;
}

REGISTER_OP("UclusterBatchNormRelu")
    .Attr("T: {float, double}")
    .Input("values: T")
    .Input("gamma: T")
    .Input("beta: T")
    .Input("shares: T")
    .Input("epsilon: T")
    .Output("output: T")
    .Output("mean: T")
    .Output("variance: T")
    .SetShapeFn([](InferenceContext* context) {
      context->set_output(0, context->input(0));
      for (int output = 1; output < 3; ++output) context->set_output(output, context->input(1));
      return absl::OkStatus();
    });

// The moments of a block of rows: its share, mean, and the sum of squares about that mean, so that
// nothing cancels where the mean is far from zero.
template <typename T>
void BlockMoments(const T* values, const T* shares, int64_t begin, int64_t end, int64_t n,
                  T* result) {
  T* mean = result + 1;
  T* squares = mean + n;
  T share = 0;
  for (int64_t row = begin; row < end; ++row) {
    share += shares[row];
    const T* value = values + row * n;
#pragma omp simd
    for (int64_t c = 0; c < n; ++c) mean[c] += shares[row] * value[c];
  }
  result[0] = share;
  if (!(share > T(0))) return;
  for (int64_t c = 0; c < n; ++c) mean[c] /= share;
  for (int64_t row = begin; row < end; ++row) {
    const T* value = values + row * n;
#pragma omp simd
    for (int64_t c = 0; c < n; ++c) {
      const T centered = value[c] - mean[c];
      squares[c] += shares[row] * centered * centered;
    }
  }
}

template <typename T>
void ScaleShiftReluOfRows(const T* values, const T* scale, const T* shift, int64_t begin,
                          int64_t end, int64_t n, T* output) {
  for (int64_t row = begin; row < end; ++row) {
    const T* value = values + row * n;
    T* result = output + row * n;
#pragma omp simd
    for (int64_t c = 0; c < n; ++c) result[c] = Relu(value[c] * scale[c] + shift[c]);
  }
}

template <typename T>
class BatchNormRelu : public tensorflow::OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    if (!AreRows(context, {1, 2})) return;
    const int64_t n_rows = context->input(0).dim_size(0), n = context->input(0).dim_size(1);
    const T* values = Data<T>(context->input(0));
    const T* gamma = Data<T>(context->input(1));
    const T* beta = Data<T>(context->input(2));
    const T* shares = Data<T>(context->input(3));
    const T epsilon = context->input(4).scalar<T>()();
    Tensor *of_output, *of_mean, *of_variance;
    OP_REQUIRES_OK(context, context->allocate_output(0, {n_rows, n}, &of_output));
    OP_REQUIRES_OK(context, context->allocate_output(1, {n}, &of_mean));
    OP_REQUIRES_OK(context, context->allocate_output(2, {n}, &of_variance));
    BlockSums<T> moments(n_rows, 2 * n + 1);
    ForEachBlock(context, n_rows, 2 * n, [&](int64_t block, int64_t begin, int64_t end) {
      BlockMoments(values, shares, begin, end, n, moments.Of(block));
    });
    T* mean = Data<T>(of_mean);
    T* variance = Data<T>(of_variance);
    std::vector<T> slope(n), offset(n);
    for (int64_t c = 0; c < n; ++c) {
      double total = 0, first = 0, second = 0;
      for (int64_t block = 0; block < NumBlocks(n_rows); ++block) {
        const T* of_block = moments.Of(block);
        total += of_block[0];
        first += static_cast<double>(of_block[0]) * of_block[1 + c];
      }
      const double center = first / total;
      for (int64_t block = 0; block < NumBlocks(n_rows); ++block) {
        const T* of_block = moments.Of(block);
        const double distance = of_block[1 + c] - center;
        second += of_block[1 + n + c] + of_block[0] * distance * distance;
      }
      mean[c] = static_cast<T>(center);
      variance[c] = static_cast<T>(second / total);
      slope[c] = gamma[c] / std::sqrt(variance[c] + epsilon);
      offset[c] = beta[c] - mean[c] * slope[c];
    }
    T* output = Data<T>(of_output);
    ForEachBlock(context, n_rows, n, [&](int64_t, int64_t begin, int64_t end) {
      ScaleShiftReluOfRows(values, slope.data(), offset.data(), begin, end, n, output);
    });
  }
};

REGISTER_OP("UclusterBatchNormReluGrad")
    .Attr("T: {float, double}")
    .Input("values: T")
    .Input("gamma: T")
    .Input("mean: T")
    .Input("variance: T")
    .Input("shares: T")
    .Input("output: T")
    .Input("epsilon: T")
    .Input("d_output: T")
    .Output("d_values: T")
    .Output("d_gamma: T")
    .Output("d_beta: T")
    .SetShapeFn([](InferenceContext* context) {
      context->set_output(0, context->input(0));
      for (int output = 1; output < 3; ++output) context->set_output(output, context->input(1));
      return absl::OkStatus();
    });

template <typename T>
class BatchNormReluGrad : public tensorflow::OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    if (!AreRows(context, {1, 2, 3})) return;
    const int64_t n_rows = context->input(0).dim_size(0), n = context->input(0).dim_size(1);
    const T* values = Data<T>(context->input(0));
    const T* gamma = Data<T>(context->input(1));
    const T* mean = Data<T>(context->input(2));
    const T* variance = Data<T>(context->input(3));
    const T* shares = Data<T>(context->input(4));
    const T* output = Data<T>(context->input(5));
    const T epsilon = context->input(6).scalar<T>()();
    const T* d_output = Data<T>(context->input(7));
    Tensor *of_values, *of_gamma, *of_beta;
    OP_REQUIRES_OK(context, context->allocate_output(0, {n_rows, n}, &of_values));
    OP_REQUIRES_OK(context, context->allocate_output(1, {n}, &of_gamma));
    OP_REQUIRES_OK(context, context->allocate_output(2, {n}, &of_beta));
    BlockSums<T> sums(n_rows, 2 * n);
    ForEachBlock(context, n_rows, 2 * n, [&](int64_t block, int64_t begin, int64_t end) {
      T* of_centered = sums.Of(block);
      T* of_ones = of_centered + n;
      const T* center = mean;
      const int64_t width = n;
      for (int64_t row = begin; row < end; ++row) {
        const T* value = values + row * n;
        const T* result = output + row * n;
        const T* d_result = d_output + row * n;
#pragma omp simd
        for (int64_t c = 0; c < width; ++c) {
          const T d_normed = result[c] > T(0) ? d_result[c] : T(0);
          of_centered[c] += d_normed * (value[c] - center[c]);
          of_ones[c] += d_normed;
        }
      }
    });
    T* d_gamma = Data<T>(of_gamma);
    T* d_beta = Data<T>(of_beta);
    // d_values = slope (d_normed - share (through_mean + through_variance (value - mean)))
    std::vector<T> slope(n), through_mean(n), through_variance(n);
    for (int64_t c = 0; c < n; ++c) {
      const T inverse_deviation = 1 / std::sqrt(variance[c] + epsilon);
      d_gamma[c] = static_cast<T>(sums.Total(c)) * inverse_deviation;
      d_beta[c] = static_cast<T>(sums.Total(n + c));
      slope[c] = gamma[c] * inverse_deviation;
      through_mean[c] = d_beta[c];
      through_variance[c] = d_gamma[c] * inverse_deviation;
    }
    T* d_values = Data<T>(of_values);
    ForEachBlock(context, n_rows, 2 * n, [&](int64_t, int64_t begin, int64_t end) {
      const T *center = mean, *of_slope = slope.data();
      const T *of_mean = through_mean.data(), *of_variance = through_variance.data();
      const int64_t width = n;
      for (int64_t row = begin; row < end; ++row) {
        const T* value = values + row * n;
        const T* result = output + row * n;
        const T* d_result = d_output + row * n;
        T* d_value = d_values + row * n;
        const T share = shares[row];
#pragma omp simd
        for (int64_t c = 0; c < width; ++c) {
          const T d_normed = result[c] > T(0) ? d_result[c] : T(0);
          const T through_moments = of_mean[c] + of_variance[c] * (value[c] - center[c]);
          d_value[c] = of_slope[c] * (d_normed - share * through_moments);
        }
      }
    });
  }
};

REGISTER_OP("UclusterScaleShiftRelu")
    .Attr("T: {float, double}")
    .Input("values: T")
    .Input("scale: T")
    .Input("shift: T")
    .Output("output: T")
    .SetShapeFn([](InferenceContext* context) {
      context->set_output(0, context->input(0));
      return absl::OkStatus();
    });

template <typename T>
class ScaleShiftRelu : public tensorflow::OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    if (!AreRows(context, {1, 2})) return;
    const int64_t n_rows = context->input(0).dim_size(0), n = context->input(0).dim_size(1);
    const T* values = Data<T>(context->input(0));
    const T* scale = Data<T>(context->input(1));
    const T* shift = Data<T>(context->input(2));
    Tensor* of_output;
    OP_REQUIRES_OK(context, context->forward_input_or_allocate_output(
                                {0}, 0, context->input(0).shape(), &of_output));
    T* output = Data<T>(of_output);
    ForEachBlock(context, n_rows, n, [&](int64_t, int64_t begin, int64_t end) {
      ScaleShiftReluOfRows(values, scale, shift, begin, end, n, output);
    });
  }
};

#define REGISTER_KERNELS(T)                                                             \
  REGISTER_KERNEL_BUILDER(Name("UclusterBatchNormRelu")                                 \
                              .Device(tensorflow::DEVICE_CPU)                           \
                              .TypeConstraint<T>("T"),                                  \
                          BatchNormRelu<T>);                                            \
  REGISTER_KERNEL_BUILDER(Name("UclusterBatchNormReluGrad")                             \
                              .Device(tensorflow::DEVICE_CPU)                           \
                              .TypeConstraint<T>("T"),                                  \
                          BatchNormReluGrad<T>);                                        \
  REGISTER_KERNEL_BUILDER(Name("UclusterScaleShiftRelu")                                \
                              .Device(tensorflow::DEVICE_CPU)                           \
                              .TypeConstraint<T>("T"),                                  \
                          ScaleShiftRelu<T>)
REGISTER_KERNELS(float);
REGISTER_KERNELS(double);
#undef REGISTER_KERNELS

}  // namespace
}  // namespace ucluster_tune
