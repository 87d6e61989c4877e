#include "differential/operations.hpp"

namespace fibrio::test {

namespace {

using Variable = ContextVar<std::string>;

Variable& variable(const std::string& name) {
  static Variable v("v", "none");
  static Variable w("w", "none");
  return name == "v" ? v : w;
}

Json set_variable(const Call& call) {
  Variable& named = variable(call.name());
  call.run.tokens.insert_or_assign(call.label, std::pair(&named, named.set(call.label)));
  return nullptr;
}
Json get_variable(const Call& call) { return variable(call.name()).get(); }
// By the label of the operation that set it.
Json reset_variable(const Call& call) {
  const auto found = call.run.tokens.find(call.name());
  if (found == call.run.tokens.end()) return nullptr;
  const auto& [named, token] = found->second;
  try {
    named->reset(token);
  } catch (const std::invalid_argument&) {
    return "ValueError";
  } catch (const RuntimeError&) {
    return "RuntimeError";
  }
  return true;
}

Json get_in_callback(const Call& call) {
  return call_back(
      call, [](Run&, const std::string& name, const std::string&) { return Json(variable(name).get()); });
}
Json get_in_done_callback(const Call& call) {
  const auto target = call.run.find_target(call.name());
  if (!target) return nullptr;
  static_cast<void>(
      target->add_done_callback([&run = call.run, label = call.label, name = call.text(2)](const AnyFuture&) {
        run.emit({run.now(), "cb", label, variable(name).get()});
      }));
  return nullptr;
}
Json run_in_copy(const Call& call) {
  return copy_context().run([&] {
    static_cast<void>(variable(call.name()).set(call.label));
    return Json(variable(call.name()).get());
  });
}

}  // namespace

void add_context_operations(Operations& operations) {
  operations.insert({{"vset", set_variable},
                     {"vget", get_variable},
                     {"vreset", reset_variable},
                     {"vcb", get_in_callback},
                     {"vdone", get_in_done_callback},
                     {"vrun", run_in_copy}});
}

}  // namespace fibrio::test
