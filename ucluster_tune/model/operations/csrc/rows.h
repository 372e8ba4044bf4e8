// What the operations share: rows of channels, jets as ranges of rows, and work over them in blocks.

#ifndef UCLUSTER_TUNE_ROWS_H_
#define UCLUSTER_TUNE_ROWS_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/util/work_sharder.h"

namespace ucluster_tune {

using tensorflow::OpKernelContext;
using tensorflow::Tensor;

// Sums over rows are made block by block and then added up in the order of the blocks. Their number
// depends on the input alone, so a result is the same with any number of threads.
constexpr int64_t kMaxBlocks = 32;

inline int64_t NumBlocks(int64_t n_items) { return std::min(n_items, kMaxBlocks); }

// Calls work(block, first item, item after the last) for each block of `n_items`. What inner loops
// read in `work` are its own variables: through a captured reference they are not vectorized.
template <typename Work>
void ForEachBlock(OpKernelContext* context, int64_t n_items, int64_t cost_of_item, Work work) {
  const int64_t n_blocks = NumBlocks(n_items);
  if (n_blocks == 0) return;
  const auto& threads = *context->device()->tensorflow_cpu_worker_threads();
  tensorflow::Shard(threads.num_threads, threads.workers, n_blocks,
                    std::max<int64_t>(1, n_items / n_blocks * cost_of_item),
                    [&](int64_t begin, int64_t end) {
                      for (int64_t block = begin; block < end; ++block) {
                        work(block, block * n_items / n_blocks, (block + 1) * n_items / n_blocks);
                      }
                    });
}

// Sums of `width` numbers for each block; `Total` adds them up in double precision.
template <typename T>
class BlockSums {
 public:
  BlockSums(int64_t n_items, int64_t width)
      : width_(width), n_blocks_(NumBlocks(n_items)), sums_(n_blocks_ * width, T(0)) {}

  T* Of(int64_t block) { return sums_.data() + block * width_; }

  double Total(int64_t index) const {
    double total = 0;
    for (int64_t block = 0; block < n_blocks_; ++block) total += sums_[block * width_ + index];
    return total;
  }

 private:
  int64_t width_, n_blocks_;
  std::vector<T> sums_;
};

// Not std::max: what is not a number stays one, so that a diverging network is seen in its loss.
template <typename T>
inline T Relu(T value) {
  return value < T(0) ? T(0) : value;
}

template <typename T>
T* Data(Tensor* tensor) {
  return tensor->flat<T>().data();
}

template <typename T>
const T* Data(const Tensor& tensor) {
  return tensor.flat<T>().data();
}

}  // namespace ucluster_tune

#endif  // UCLUSTER_TUNE_ROWS_H_
