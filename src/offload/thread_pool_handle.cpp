// What: the public ThreadPool: a handle to what its threads share, and the limits of what may be asked for.
#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "base/machine.hpp"
#include "offload/thread_pool.hpp"

namespace fibrio {
namespace {

std::shared_ptr<detail::ThreadPoolImpl> make_pool(std::size_t max_threads, Duration keep_alive,
                                                  std::string name) {
  if (max_threads > detail::ThreadPoolImpl::kMaxThreads) {
    throw std::invalid_argument("ThreadPool: max_threads = " + std::to_string(max_threads) +
                                " is out of range; allowed: 1 to 4096, or 0 for min(32, CPUs + 4)");
  }
  if (keep_alive < Duration::zero()) {
    throw std::invalid_argument("ThreadPool: keep_alive = " + std::to_string(keep_alive.count()) +
                                "ns is out of range; allowed: 0 or more");
  }
  // asyncio's default: calls wait more than they compute, so a few more than CPUs.
  if (max_threads == 0) max_threads = std::min<std::size_t>(32, detail::usable_cpus() + 4);
  return std::make_shared<detail::ThreadPoolImpl>(max_threads, keep_alive, std::move(name));
}

}  // namespace

ThreadPool::ThreadPool(std::size_t max_threads, AnyDuration keep_alive, std::string name)
    : impl_(make_pool(max_threads, keep_alive, std::move(name))) {}

ThreadPool::~ThreadPool() { impl_->close(); }

void ThreadPool::enqueue(const AnyFuture& future, detail::UniqueFunction<void()> call) {
  impl_->enqueue(future, std::move(call));
}

std::size_t ThreadPool::shutdown(bool wait, AnyDuration timeout, bool cancel_queued) {
  // A copy: the wait may outlive this object when a cancelled task lets go of it.
  const std::shared_ptr<detail::ThreadPoolImpl> impl = impl_;
  return impl->shutdown(wait, timeout, cancel_queued);
}

std::size_t ThreadPool::max_threads() const noexcept { return impl_->max_threads(); }
std::size_t ThreadPool::threads() const { return impl_->threads(); }
std::size_t ThreadPool::queued() const { return impl_->queued(); }

}  // namespace fibrio
