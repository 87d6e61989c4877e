// Teaches: a pipeline of tasks joined by queues: a full queue makes its producer wait, and shutting a queue
// down tells the next stage that nothing more will come. asyncio: Queue, Queue.shutdown. Any number of
// workers: each stage is one task, so that the order is the same.
#include <iostream>
#include <string>

#include <fibrio/fibrio.hpp>

using fibrio::Queue;
using fibrio::QueueShutDown;

void read_lines(Queue<std::string>& lines) {
  for (const char* line : {"to be", "or not", "to be", "that is", "the question"}) lines.put(line);
  lines.shutdown();
}

void number_lines(Queue<std::string>& lines, Queue<std::string>& numbered) {
  try {
    for (int number = 1;; ++number) numbered.put(std::to_string(number) + ": " + lines.get());
  } catch (const QueueShutDown&) {
    numbered.shutdown();  // what is in it can still be got
  }
}

int main() {
  fibrio::run([] {
    Queue<std::string> lines(2);  // at most two lines wait
    Queue<std::string> numbered(2);
    auto reader = fibrio::create_task(read_lines, std::ref(lines));
    auto numberer = fibrio::create_task(number_lines, std::ref(lines), std::ref(numbered));
    try {
      for (;;) std::cout << numbered.get() << '\n';
    } catch (const QueueShutDown&) {
      std::cout << "that was all\n";
    }
    fibrio::await(reader);
    fibrio::await(numberer);
  });
}
