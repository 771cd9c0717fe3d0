#include "cpu/runtime/memory.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cstdlib>
#include <new>
#include <vector>

namespace wbm {
namespace {

constexpr std::size_t kKept = std::size_t(64) << 20;  // bytes that a thread keeps
constexpr std::size_t kHuge = std::size_t(2) << 20;   // a huge page

// What a thread has given back, the latest last.
class FreeBlocks {
 public:
  ~FreeBlocks() { shrink(0); }

  // The smallest block that fits and is not more than twice too large.
  Block find(std::size_t bytes) {
    std::size_t best = blocks_.size();
    for (std::size_t k = 0; k < blocks_.size(); ++k)
      if (blocks_[k].bytes >= bytes && blocks_[k].bytes <= 2 * bytes + 4096 &&
          (best == blocks_.size() || blocks_[k].bytes < blocks_[best].bytes))
        best = k;
    if (best == blocks_.size()) return {};
    const Block block = blocks_[best];
    blocks_.erase(blocks_.begin() + static_cast<std::ptrdiff_t>(best));
    total_ -= block.bytes;
    return block;
  }

  bool keep(Block block) noexcept {
    if (block.bytes > kKept) return false;
    try {
      blocks_.push_back(block);
    } catch (const std::bad_alloc&) {
      return false;
    }
    total_ += block.bytes;
    shrink(kKept);
    return true;
  }

 private:
  void shrink(std::size_t limit) noexcept {
    std::size_t oldest = 0;
    while (oldest < blocks_.size() && (total_ > limit || blocks_.size() - oldest > 32)) {
      total_ -= blocks_[oldest].bytes;
      std::free(blocks_[oldest++].address);
    }
    blocks_.erase(blocks_.begin(), blocks_.begin() + static_cast<std::ptrdiff_t>(oldest));
  }

  std::vector<Block> blocks_;
  std::size_t total_ = 0;
};

FreeBlocks& free_blocks() {
  thread_local FreeBlocks blocks;
  return blocks;
}

}  // namespace

Block take_block(std::size_t bytes) {
  const std::size_t wanted = std::max<std::size_t>(bytes, 1), unit = wanted >= kHuge / 2 ? kHuge : 64;
  const std::size_t whole = (wanted + unit - 1) / unit * unit;
  Block block = free_blocks().find(whole);
  if (block.address) return block;
  block = {std::aligned_alloc(unit, whole), whole};
  if (!block.address) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
  if (unit == kHuge) madvise(block.address, whole, MADV_HUGEPAGE);
#endif
  return block;
}

void give_back(Block block) noexcept {
  if (block.address && !free_blocks().keep(block)) std::free(block.address);
}

}  // namespace wbm
