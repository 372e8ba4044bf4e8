// The k nearest rows of each row of a jet, where one row may stand for many padded constituents.

#include <limits>

#include "rows.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/lib/core/errors.h"

namespace ucluster_tune {
namespace {

using tensorflow::shape_inference::InferenceContext;
using tensorflow::errors::InvalidArgument;

constexpr int64_t kRows = 4;        // distances are made for so many rows
constexpr int64_t kCandidates = 16; // and so many candidates at a time, in registers

REGISTER_OP("UclusterNeighbors")
    .Attr("T: {float, double}")
    .Attr("n_neighbors: int >= 1")
    .Attr("takes_padding_last: bool = false")
    .Input("values: T")
    .Input("starts: int32")
    .Input("n_padded: int32")
    .Output("neighbors: int32")
    .SetShapeFn([](InferenceContext* context) {
      int n_neighbors;
      TF_RETURN_IF_ERROR(context->GetAttr("n_neighbors", &n_neighbors));
      context->set_output(0, context->Matrix(context->Dim(context->input(0), 0), n_neighbors));
      return absl::OkStatus();
    });

// The k nearest of the candidates offered, nearest first; of equal distances the first offered.
template <typename T>
class Nearest {
 public:
  explicit Nearest(int64_t k) : k_(k), distances_(k), rows_(k) {}

  void Clear() { n_ = 0; }
  bool IsFull() const { return n_ == k_; }
  int64_t Count() const { return n_; }
  int64_t Row(int64_t at) const { return rows_[at]; }

  // Returns whether the candidate is among the nearest now.
  bool Offer(T distance, int64_t row) {
    if (n_ == k_ && !(distance < distances_[k_ - 1])) return false;
    int64_t at = n_ < k_ ? n_++ : k_ - 1;
    for (; at > 0 && distances_[at - 1] > distance; --at) {
      distances_[at] = distances_[at - 1];
      rows_[at] = rows_[at - 1];
    }
    distances_[at] = distance;
    rows_[at] = row;
    return true;
  }

 private:
  int64_t k_, n_ = 0;
  std::vector<T> distances_;
  std::vector<int64_t> rows_;
};

// Inner products of the rows of one jet: columns [channel, row], filled up with zeros to whole
// blocks of candidates.
template <typename T>
class JetColumns {
 public:
  JetColumns(const T* values, int64_t n_rows, int64_t n_channels)
      : n_rows_(n_rows),
        n_(n_channels),
        n_columns_((n_rows + kCandidates - 1) / kCandidates * kCandidates),
        columns_(n_channels * n_columns_, T(0)),
        squares_(n_rows, T(0)),
        products_(kRows * n_columns_) {
    for (int64_t row = 0; row < n_rows; ++row) {
      for (int64_t c = 0; c < n_; ++c) {
        const T value = values[row * n_ + c];
        columns_[c * n_columns_ + row] = value;
        squares_[row] += value * value;
      }
    }
  }

  T Square(int64_t row) const { return squares_[row]; }

  // Makes the products of up to kRows rows, from `begin` on, with all rows.
  void MakeProducts(const T* values, int64_t begin) {
    const T* rows[kRows];
    for (int64_t i = 0; i < kRows; ++i) rows[i] = values + std::min(begin + i, n_rows_ - 1) * n_;
    for (int64_t first = 0; first < n_columns_; first += kCandidates) {
      T sums[kRows][kCandidates] = {};
      for (int64_t c = 0; c < n_; ++c) {
        const T* column = columns_.data() + c * n_columns_ + first;
        for (int64_t i = 0; i < kRows; ++i) {
          const T value = rows[i][c];
#pragma omp simd
          for (int64_t j = 0; j < kCandidates; ++j) sums[i][j] += value * column[j];
        }
      }
      for (int64_t i = 0; i < kRows; ++i) {
        std::copy(sums[i], sums[i] + kCandidates, products_.data() + i * n_columns_ + first);
      }
    }
  }

  // Returns the product of the i-th of those rows with another one.
  T Product(int64_t i, int64_t other) const { return products_[i * n_columns_ + other]; }

 private:
  int64_t n_rows_, n_, n_columns_;
  std::vector<T> columns_, squares_, products_;
};

template <typename T>
class Neighbors : public tensorflow::OpKernel {
 public:
  explicit Neighbors(tensorflow::OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("n_neighbors", &n_neighbors_));
    OP_REQUIRES_OK(context, context->GetAttr("takes_padding_last", &takes_padding_last_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& of_values = context->input(0);
    const int64_t n_jets = context->input(1).dim_size(0) - 1;
    OP_REQUIRES(context,
                of_values.dims() == 2 && n_jets >= 0 && context->input(2).dim_size(0) == n_jets,
                InvalidArgument("values must be [row, channel], starts [jet + 1], n_padded [jet]"));
    const T* values = Data<T>(of_values);
    const int64_t n_rows = of_values.dim_size(0), n = of_values.dim_size(1);
    const int32_t* starts = Data<int32_t>(context->input(1));
    const int32_t* n_padded = Data<int32_t>(context->input(2));
    OP_REQUIRES(context, starts[0] == 0 && starts[n_jets] == n_rows,
                InvalidArgument("starts must ascend from 0 to the number of rows, ", n_rows));
    for (int64_t jet = 0; jet < n_jets; ++jet) {
      OP_REQUIRES(context, starts[jet] <= starts[jet + 1],
                  InvalidArgument("starts must ascend, jet ", jet, " does not"));
    }
    Tensor* of_neighbors;
    OP_REQUIRES_OK(context, context->allocate_output(0, {n_rows, n_neighbors_}, &of_neighbors));
    int32_t* neighbors = Data<int32_t>(of_neighbors);
    const int64_t rows_of_a_jet = n_rows / std::max<int64_t>(1, n_jets) + 1;
    ForEachBlock(context, n_jets, rows_of_a_jet * rows_of_a_jet * n / 8,
                 [&](int64_t, int64_t first, int64_t last) {
      Nearest<T> nearest(n_neighbors_);
      for (int64_t jet = first; jet < last; ++jet) {
        SearchJet(values + starts[jet] * n, starts[jet + 1] - starts[jet], n, n_padded[jet],
                  starts[jet], &nearest, neighbors + starts[jet] * n_neighbors_);
      }
    });
  }

 private:
  void SearchJet(const T* values, int64_t n_rows, int64_t n, int64_t n_padded, int64_t first_row,
                 Nearest<T>* nearest, int32_t* neighbors) const {
    JetColumns<T> columns(values, n_rows, n);
    const int64_t n_real = n_padded > 0 ? n_rows - 1 : n_rows;
    for (int64_t begin = 0; begin < n_rows; begin += kRows) {
      columns.MakeProducts(values, begin);
      for (int64_t i = 0; i < std::min(kRows, n_rows - begin); ++i) {
        const int64_t row = begin + i;
        const auto distance = [&](int64_t other) {
          return columns.Square(row) - 2 * columns.Product(i, other) + columns.Square(other);
        };
        nearest->Clear();
        for (int64_t other = 0; other < n_real; ++other) nearest->Offer(distance(other), other);
        if (n_padded > 0) {
          const T of_padding = takes_padding_last_ ? std::numeric_limits<T>::max()
                                                   : distance(n_rows - 1);
          for (int64_t copy = 0; copy < n_padded; ++copy) {
            if (!nearest->Offer(of_padding, n_rows - 1)) break;
          }
        }
        // With fewer candidates than neighbours, as where k is above what a jet has, the row itself.
        int32_t* result = neighbors + row * n_neighbors_;
        for (int64_t k = 0; k < n_neighbors_; ++k) {
          const int64_t chosen = k < nearest->Count() ? nearest->Row(k) : row;
          result[k] = static_cast<int32_t>(first_row + chosen);
        }
      }
    }
  }

  int n_neighbors_;
  bool takes_padding_last_;
};

REGISTER_KERNEL_BUILDER(
    Name("UclusterNeighbors").Device(tensorflow::DEVICE_CPU).TypeConstraint<float>("T"),
    Neighbors<float>);
REGISTER_KERNEL_BUILDER(
    Name("UclusterNeighbors").Device(tensorflow::DEVICE_CPU).TypeConstraint<double>("T"),
    Neighbors<double>);

}  // namespace
}  // namespace ucluster_tune
