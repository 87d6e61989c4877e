// Teaches: the order of callbacks. call_soon: in call order. call_later and call_at: by deadline, equal
// deadlines in call order, and after everything that was ready. asyncio: "loop.call_soon, loop.call_later,
// loop.call_at". One worker and virtual time: the order is exact.
#include <chrono>
#include <iostream>
#include <string>

#include <fibrio/fibrio.hpp>

using namespace std::chrono_literals;

void say(const std::string& text) { std::cout << text << '\n'; }

int main() {
  fibrio::EventLoop loop(fibrio::Config{.workers = 1, .virtual_time = true});
  const fibrio::TimePoint start = loop.time();

  loop.call_later(200ms, say, "200 ms");
  loop.call_later(100ms, say, "100 ms, called first");
  loop.call_at(start + 100ms, say, "100 ms, called second");
  loop.call_later(0ms, say, "0 ms: a timer, so after what is ready");
  loop.call_soon([&loop] {
    say("soon 1");
    loop.call_soon(say, "soon, from a callback: in the next pass");
  });
  loop.call_soon(say, "soon 2");
  fibrio::Handle cancelled = loop.call_soon(say, "never printed");
  cancelled.cancel();
  loop.call_later(300ms, [&loop] {
    say("300 ms: stop");
    loop.stop();
  });

  loop.run_forever();
  std::cout << "elapsed: "
            << std::chrono::duration_cast<std::chrono::milliseconds>(loop.time() - start).count() << " ms\n";
}
