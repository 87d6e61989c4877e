// Teaches: a strand. The fetcher adds ten numbers to a list, one by one, between two waits; the monitor looks at
// the list whenever it runs. There is no lock, and four workers run the loop, yet the monitor only ever sees
// multiples of ten: tasks on one strand are atomic between their waits, as on an asyncio loop. The list needs
// no protection as long as only the strand touches it.
#include <chrono>
#include <iostream>
#include <vector>

#include <fibrio/fibrio.hpp>

using namespace std::chrono_literals;

class Collector {
 public:
  // On the strand, both of them.
  void fetch() {
    for (int batch = 0; batch < 10; ++batch) {
      for (int i = 0; i < 10; ++i) data_.push_back(batch * 10 + i);  // no wait in here
      fibrio::sleep(10ms);
    }
    done_ = true;
  }
  bool monitor() {
    bool only_tens = true;
    while (!done_) {
      only_tens = only_tens && data_.size() % 10 == 0;
      fibrio::sleep(1ms);
    }
    return only_tens;
  }
  // From anywhere: a call that waits for its turn on the strand.
  std::size_t size() {
    return strand_.run([this] { return data_.size(); });
  }

  bool run() {
    auto fetcher = strand_.create_task([this] { fetch(); });
    auto monitoring = strand_.create_task([this] { return monitor(); });
    fibrio::await(fetcher);
    return fibrio::await(monitoring);
  }

 private:
  fibrio::Strand strand_;
  std::vector<int> data_;
  bool done_ = false;
};

int main() {
  fibrio::run(
      [] {
        Collector collector;
        const bool only_tens = collector.run();
        std::cout << "the monitor saw only multiples of ten: " << (only_tens ? "yes" : "no") << "\n";
        std::cout << "in the end there are " << collector.size() << "\n";
      },
      fibrio::Config{.workers = 4});
}
