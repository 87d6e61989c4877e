#include "net/name_lookups.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <tuple>
#include <utility>

#include "fibrio/locks.hpp"

namespace fibrio::detail {

namespace {

using Clock = std::chrono::steady_clock;
using Key = std::tuple<std::string, std::string, int, int>;

constexpr std::size_t kMaxAnswers = 1024;  // a program that asks for more names than that has a resolver near

std::string lower(std::string text) {
  for (char& each : text) {
    if (each >= 'A' && each <= 'Z') each = static_cast<char>(each - 'A' + 'a');
  }
  return text;
}

// Nobody is asked over the network.
bool is_local(std::string_view host) {
  if (host.ends_with('.')) host.remove_suffix(1);
  in_addr unused{};
  return host.empty() || host == "localhost" || host.ends_with(".localhost") ||
         host.find(':') != std::string_view::npos || ::inet_aton(std::string(host).c_str(), &unused) != 0;
}

}  // namespace

struct NameLookups::Query {
  explicit Query(NameQuestion its_question, Key its_key)
      : question(std::move(its_question)), key(std::move(its_key)) {}
  const NameQuestion question;
  const Key key;
  std::size_t waiters = 0;  // guarded by the lock, as is has_begun
  bool has_begun = false;
  std::vector<Address> addresses;
  std::exception_ptr error;
  Event done;
};

class NameLookups::State : public std::enable_shared_from_this<NameLookups::State> {
 public:
  using QueryPtr = std::shared_ptr<Query>;

  [[nodiscard]] std::optional<std::vector<Address>> cached(const Key& key) {
    const std::lock_guard guard(lock_);
    const auto found = answers_.find(key);
    if (found == answers_.end() || found->second.until <= Clock::now()) return std::nullopt;
    return found->second.addresses;
  }

  // The query for it, which counts the caller.
  [[nodiscard]] QueryPtr join(ThreadPool& pool, NameQuestion question, const Key& key) {
    const std::lock_guard guard(lock_);
    QueryPtr& query = queries_[key];
    if (query == nullptr) {
      try {
        const bool local = is_local(std::get<0>(key));
        auto made = std::make_shared<Query>(std::move(question), key);
        if (!local && active_ >= kMaxNames) {
          queue_.push_back(made);
        } else {
          static_cast<void>(
              pool.submit([self = shared_from_this(), made, local] { self->run(made, local); }));
          if (!local) ++active_;
        }
        query = std::move(made);
      } catch (...) {
        queries_.erase(key);
        throw;
      }
    }
    ++query->waiters;
    return query;
  }

  void leave(const QueryPtr& query) noexcept {
    const std::lock_guard guard(lock_);
    if (--query->waiters != 0 || query->has_begun) return;
    forget_locked(query);
    const auto place = std::find(queue_.begin(), queue_.end(), query);
    if (place != queue_.end()) queue_.erase(place);
  }

  void set_options(ResolverOptions options) {
    auto made = std::make_shared<const ResolverOptions>(std::move(options));
    const std::lock_guard guard(lock_);
    options_.swap(made);
    answers_.clear();
  }
  [[nodiscard]] std::shared_ptr<const ResolverOptions> options() const {
    const std::lock_guard guard(lock_);
    return options_;
  }

 private:
  struct Answer {
    std::vector<Address> addresses;
    Clock::time_point until;
  };

  // On a thread of the pool.
  void run(QueryPtr query, bool local) {
    while (query != nullptr) {
      if (begin(query)) answer(query);
      query = local ? nullptr : next();
    }
  }
  [[nodiscard]] bool begin(const QueryPtr& query) {
    const std::lock_guard guard(lock_);
    query->has_begun = query->waiters != 0;
    return query->has_begun;
  }
  void answer(const QueryPtr& query) {
    try {
      query->addresses = look_up_now(query->question);
    } catch (...) {
      query->error = std::current_exception();
    }
    {
      const std::lock_guard guard(lock_);
      forget_locked(query);
      if (query->error == nullptr) remember_locked(*query);
    }
    query->done.set();
  }
  [[nodiscard]] QueryPtr next() {
    const std::lock_guard guard(lock_);
    if (queue_.empty()) {
      --active_;
      return nullptr;
    }
    QueryPtr query = std::move(queue_.front());
    queue_.pop_front();
    return query;
  }
  void forget_locked(const QueryPtr& query) {
    const auto found = queries_.find(query->key);
    if (found != queries_.end() && found->second == query) queries_.erase(found);
  }
  void remember_locked(const Query& query) noexcept {
    if (options_->cache_time <= Duration::zero()) return;
    const Clock::time_point now = Clock::now();
    try {
      if (answers_.size() >= kMaxAnswers) {
        std::erase_if(answers_, [now](const auto& each) { return each.second.until <= now; });
        if (answers_.size() >= kMaxAnswers) answers_.clear();
      }
      const auto until = options_->cache_time >= Clock::time_point::max() - now ? Clock::time_point::max()
                                                                                : now + options_->cache_time;
      answers_[query.key] = {query.addresses, until};
    } catch (const std::bad_alloc&) {  // it is looked up again
    }
  }

  mutable std::mutex lock_;  // guards what follows
  std::shared_ptr<const ResolverOptions> options_ = std::make_shared<const ResolverOptions>();
  std::map<Key, QueryPtr> queries_;  // that new ones may join
  std::map<Key, Answer> answers_;
  std::deque<QueryPtr> queue_;
  std::size_t active_ = 0;  // threads that names have; local ones do not count
};

NameLookups::NameLookups(ThreadPool& pool) : pool_(pool), state_(std::make_shared<State>()) {}

std::vector<Address> NameLookups::look_up(NameQuestion question) {
  const Key key(lower(question.host), question.service, question.family, question.flags);
  if (auto answer = state_->cached(key)) return std::move(*answer);
  // The loop, and this object, may go while a plain thread waits.
  const std::shared_ptr<State> state = state_;
  struct Place {
    State& state;
    std::shared_ptr<Query> query;
    ~Place() { state.leave(query); }
  } const place{*state, state->join(pool_, std::move(question), key)};
  place.query->done.wait();
  if (place.query->error != nullptr) std::rethrow_exception(place.query->error);
  return place.query->addresses;
}

void NameLookups::set_options(ResolverOptions options) { state_->set_options(std::move(options)); }
std::shared_ptr<const ResolverOptions> NameLookups::options() const { return state_->options(); }

}  // namespace fibrio::detail
