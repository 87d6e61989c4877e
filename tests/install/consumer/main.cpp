// Uses an installed fibrio: prints its version, after a task has run.
#include <fibrio/version.hpp>
#if __has_include(<fibrio/fibrio.hpp>)
#include <fibrio/fibrio.hpp>
#define HAS_TASKS
#endif

#include <iostream>

int main() {
#ifdef HAS_TASKS
  const int answer = fibrio::run([] { return fibrio::await(fibrio::create_task([] { return 42; })); });
  if (answer != 42) return 1;
#endif
  std::cout << "fibrio " << fibrio::version() << '\n';
}
