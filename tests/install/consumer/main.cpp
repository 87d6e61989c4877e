// Uses an installed fibrio: prints its version, after a task has run.
#include <string>
#ifndef FIBRIO_ERRNO
#error "<errno.h> is to be fibrio's also for who includes it ahead of fibrio (std::stol)"
#endif

#include <fibrio/version.hpp>
#if __has_include(<fibrio/fibrio.hpp>)
#include <fibrio/fibrio.hpp>
#define HAS_TASKS
#endif

#ifdef WITH_HTTP
#include <fibrio/http/fields.hpp>
#endif
#ifdef WITH_TLS
#include <fibrio/tls.hpp>
#endif

#include <cstdlib>
#include <iostream>

int main() {
#ifdef HAS_TASKS
  // With the component the file named by FIBRIO_CONFIG is read without a call.
  if (std::getenv("FIBRIO_CONFIG") != nullptr && fibrio::Config::load().workers != 3) return 2;
  const int answer = fibrio::run([] { return fibrio::await(fibrio::create_task([] { return 42; })); });
  if (answer != 42) return 1;
#ifdef WITH_HTTP
  if (fibrio::http::Fields{{"Answer", "42"}}.get("answer") != "42") return 3;
#endif
#endif
#ifdef WITH_TLS
  if (fibrio::tls::Context::client().is_server()) return 3;
#endif
  std::cout << "fibrio " << fibrio::version() << '\n';
}
