// Context variables of a task, to be put back when something that it called has changed them.
#pragma once

#include <memory>

namespace fibrio::detail {

class ContextSlot;

// Costs next to nothing while the task has no variables. Threads: the task that made it.
class SavedContext {
 public:
  // Of the running task.
  SavedContext();
  SavedContext(const SavedContext&) = delete;
  SavedContext& operator=(const SavedContext&) = delete;

  // Gives the task the values that it had. Throws: std::bad_alloc.
  void restore() const {
    if (is_changed()) put_back();
  }

 private:
  [[nodiscard]] bool is_changed() const noexcept;
  [[nodiscard]] bool differs() const noexcept;
  void put_back() const;

  ContextSlot& slot_;
  const std::shared_ptr<const void> values_;  // null: none
};

}  // namespace fibrio::detail
